from infra.modelserver.metrics import Metrics


def test_requests_are_counted_by_model_and_status_and_only_good_ones_are_timed() -> None:
    metrics = Metrics()
    metrics.record_request("m", "Predict", "REST", "OK", 0.001)
    metrics.record_request("m", "Predict", "REST", "OK", 0.003)
    metrics.record_request("m", "Predict", "GRPC", "NOT_FOUND", 5.0)
    lines = metrics.page().splitlines()
    assert "# TYPE :tensorflow:serving:request_count counter" in lines
    assert ':tensorflow:serving:request_count{model_name="m",status="OK"} 2' in lines
    assert ':tensorflow:serving:request_count{model_name="m",status="NOT_FOUND"} 1' in lines
    labels = 'model_name="m",API="Predict",entrypoint="REST"'
    assert f":tensorflow:serving:request_latency_count{{{labels}}} 2" in lines
    assert f":tensorflow:serving:request_latency_sum{{{labels}}} 4000" in lines
    assert not any('entrypoint="GRPC"' in line for line in lines)


def test_buckets_are_cumulative_microseconds_and_end_with_infinity() -> None:
    metrics = Metrics()
    for seconds in (5e-6, 15e-6, 1e9):
        metrics.record_run("m", "Predict", seconds)
    name = ":tensorflow:serving:runtime_latency_bucket"
    buckets = [line for line in metrics.page().splitlines() if line.startswith(name)]
    labels = 'model_name="m",API="Predict",runtime="TF1"'
    assert buckets[0] == f'{name}{{{labels},le="10"}} 1'
    assert buckets[1] == f'{name}{{{labels},le="18"}} 2'
    assert buckets[-1] == f'{name}{{{labels},le="+Inf"}} 3'
    assert len(buckets) == 34


def test_label_values_are_escaped() -> None:
    metrics = Metrics()
    metrics.record_request('a"b\\c\nd', "Predict", "REST", "OK", 0.0)
    assert 'model_name="a\\"b\\\\c\\nd",status="OK"' in metrics.page()


def test_every_metric_has_its_type_even_before_it_counts() -> None:
    page = Metrics().page()
    for name in (":tensorflow:serving:request_count", ":tensorflow:serving:request_latency",
                 ":tensorflow:cc:saved_model:load_latency", ":tensorflow:serving:model_warmup_latency"):  # fmt: skip
        assert f"# TYPE {name} " in page


def test_loads_are_counted_by_their_end() -> None:
    metrics = Metrics()
    metrics.record_load("/m/1", 0.25, failed=False)
    metrics.record_load("/m/2", 0.25, failed=True)
    lines = metrics.page().splitlines()
    assert ':tensorflow:cc:saved_model:load_latency{model_path="/m/1"} 250000' in lines
    assert ':tensorflow:cc:saved_model:load_attempt_count{model_path="/m/2",status="fail"} 1' in lines


def test_what_has_no_labels_is_counted_as_one() -> None:
    metrics = Metrics()
    for _ in range(2):
        metrics.record_graph_run(0.5)
    lines = metrics.page().splitlines()
    assert ":tensorflow:core:graph_runs{} 2" in lines
    assert ":tensorflow:core:graph_run_time_usecs{} 1000000" in lines

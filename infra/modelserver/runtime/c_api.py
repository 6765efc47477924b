"""TensorFlow's C API, as much of it as serving needs: load a SavedModel, run it, close it.

`TF_LoadSessionFromSavedModel` is the loader that TensorFlow Serving itself calls, so a model loads, fails and answers
here as it does there, to the letter of the error. The C API is TensorFlow's stable interface; its Python package is
not imported.

Calls that may take long go through `_blocking`, which releases the interpreter lock; short ones through `_quick`, which
keeps it: to release it for a microsecond costs a thread switch under load.

A tensor is passed as an int, the address of its TF_Tensor: an object around each would cost more than the call it
serves. Who makes a tensor, or is given one, hands it to `delete` at the end.
"""

import ctypes
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_size_t, c_void_p
from functools import lru_cache
from typing import Any

import numpy as np

from infra.modelserver.errors import Code, StatusError, invalid_argument
from infra.modelserver.runtime.blocking import SMALL_BYTES, Pace, check_may_block
from tasks.wire.dtypes import Array, DataType
from tasks.wire.protos import RunOptions, TensorProto, tensorflow_directory


class _Output(ctypes.Structure):
    _fields_ = (("operation", c_void_p), ("index", c_int))


class _Buffer(ctypes.Structure):
    owner: bytes
    _fields_ = (("data", c_void_p), ("length", c_size_t), ("deallocator", c_void_p))


_QUICK: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "TF_AllocateTensor": (c_void_p, (c_int, c_void_p, c_int, c_size_t)),
    "TF_DeleteBuffer": (None, (POINTER(_Buffer),)),
    "TF_DeleteSessionOptions": (None, (c_void_p,)),
    "TF_DeleteStatus": (None, (c_void_p,)),
    "TF_DeleteTensor": (None, (c_void_p,)),
    "TF_Dim": (c_int64, (c_void_p, c_int)),
    "TF_GetCode": (c_int, (c_void_p,)),
    "TF_GraphOperationByName": (c_void_p, (c_void_p, c_char_p)),
    "TF_Message": (c_char_p, (c_void_p,)),
    "TF_NewBuffer": (POINTER(_Buffer), ()),
    "TF_NewGraph": (c_void_p, ()),
    "TF_NewSessionOptions": (c_void_p, ()),
    "TF_NewStatus": (c_void_p, ()),
    "TF_NumDims": (c_int, (c_void_p,)),
    "TF_OperationNumOutputs": (c_int, (c_void_p,)),
    "TF_SetConfig": (None, (c_void_p, c_char_p, c_size_t, c_void_p)),
    "TF_StringGetDataPointer": (c_void_p, (c_void_p,)),
    "TF_StringGetSize": (c_size_t, (c_void_p,)),
    "TF_TensorByteSize": (c_size_t, (c_void_p,)),
    "TF_TensorData": (c_void_p, (c_void_p,)),
    "TF_TensorElementCount": (c_int64, (c_void_p,)),
    "TF_TensorType": (c_int, (c_void_p,)),
    "TF_Version": (c_char_p, ()),
}
_BLOCKING: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "TF_CloseSession": (None, (c_void_p, c_void_p)),
    "TF_DeleteGraph": (None, (c_void_p,)),
    "TF_DeleteSession": (None, (c_void_p, c_void_p)),
    "TF_DeleteTensor": (None, (c_void_p,)),
    "TF_LoadSessionFromSavedModel": (
        c_void_p,
        (c_void_p, c_void_p, c_char_p, POINTER(c_char_p), c_int, c_void_p, POINTER(_Buffer), c_void_p),
    ),
    "TF_SessionRun": (
        None,
        (c_void_p, c_void_p, c_void_p, c_void_p, c_int, c_void_p, c_void_p, c_int, c_void_p, c_int, c_void_p, c_void_p),
    ),
    "TF_TensorFromProto": (None, (c_void_p, c_void_p, c_void_p)),
}

_SIZE_OF_TSTRING = 24
_SHAPES = 1024  # that a call remembers
_FOREVER = 1e6  # seconds
_LARGE = 1 << 18  # bytes from which copying releases the interpreter lock
_quick: Any = None
_blocking: Any = None
_copy: Any = None
_copy_large: Any = None
_load_lock = threading.Lock()
_threads = threading.local()


def load() -> None:
    """Load TensorFlow's library into the process, which takes half a second; later calls do nothing."""
    global _quick, _blocking, _copy, _copy_large
    with _load_lock:
        if _quick is not None:
            return
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors are reported by status, not by log
        # Each session computes in threads of its own: in shared ones, one model's long operation would delay others.
        os.environ.setdefault("TF_OVERRIDE_GLOBAL_THREADPOOL", "1")
        path = str(tensorflow_directory() / "libtensorflow_cc.so.2")
        with _without_stderr():  # it prints a greeting when it is loaded, at any log level
            blocking, quick = ctypes.CDLL(path), ctypes.PyDLL(path)
        for library, functions in ((blocking, _BLOCKING), (quick, _QUICK)):
            for name, (result, arguments) in functions.items():
                function = getattr(library, name)
                function.restype, function.argtypes = result, arguments
        _copy, _copy_large = ctypes.PyDLL(None).memcpy, ctypes.CDLL(None).memcpy
        for copy in (_copy, _copy_large):
            copy.restype, copy.argtypes = None, (c_void_p, c_void_p, c_size_t)
        _blocking, _quick = blocking, quick


@contextmanager
def _without_stderr() -> Iterator[None]:
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def version() -> str:
    """TensorFlow's version."""
    text: bytes = _quick.TF_Version()
    return text.decode()


class _Status:
    """A TF_Status, freed with its owner."""

    __slots__ = ("pointer",)

    def __init__(self) -> None:
        self.pointer: int = _quick.TF_NewStatus()

    def __del__(self) -> None:
        if _quick is not None:  # as it is when the interpreter ends
            _quick.TF_DeleteStatus(self.pointer)

    def check(self) -> None:
        code = _quick.TF_GetCode(self.pointer)
        if code:
            raise StatusError(Code(code), _quick.TF_Message(self.pointer).decode("utf-8", "replace"))


def _status() -> _Status:
    """This thread's own."""
    try:
        return _threads.status  # type: ignore[no-any-return]
    except AttributeError:
        _threads.status = _Status()
        return _threads.status  # type: ignore[no-any-return]


def new_tensor(data_type: int, shape: Sequence[int], source: Any, size: int) -> int:
    """A tensor with a copy of the `size` bytes at `source` (an address or a bytes object), or unset if it is None."""
    rank = len(shape)
    tensor: int = _quick.TF_AllocateTensor(data_type, (c_int64 * rank)(*shape) if rank else None, rank, size)
    if size and source is not None:
        (_copy if size < _LARGE else _copy_large)(_quick.TF_TensorData(tensor), source, size)
    return tensor


def tensor_from_strings(values: Sequence[bytes], shape: Sequence[int]) -> int:
    """A string tensor."""
    proto = TensorProto(dtype=DataType.STRING, string_val=values)
    for size in shape:
        proto.tensor_shape.dim.add().size = size
    return tensor_from_proto(proto.SerializeToString())


def tensor_from_array(array: Array, data_type: int) -> int:
    """A tensor with a copy of an array's values; an object array of bytes becomes a string tensor.

    data_type says which of TensorFlow's types the array's memory holds: quantised types are carried as integers.
    """
    if data_type == DataType.STRING:
        return tensor_from_strings(array.ravel().tolist(), array.shape)
    if not array.flags.c_contiguous:
        array = np.ascontiguousarray(array)
    return new_tensor(data_type, array.shape, array.__array_interface__["data"][0], array.nbytes)


def tensor_from_proto(serialized: bytes) -> int:
    """A tensor that TensorFlow itself parses from a serialized TensorProto.

    Raises:
        StatusError: INVALID_ARGUMENT; it cannot parse it.
    """
    buffer = _Buffer(ctypes.cast(c_char_p(serialized), c_void_p), len(serialized), None)
    tensor: int = _quick.TF_AllocateTensor(DataType.FLOAT, None, 0, 4)
    status = _status()
    _blocking.TF_TensorFromProto(byref(buffer), tensor, status.pointer)
    try:
        status.check()
    except StatusError:
        _quick.TF_DeleteTensor(tensor)
        raise
    if not _quick.TF_TensorElementCount(tensor):  # it has no buffer, but the C API would read from it
        data_type, shape = read_type(tensor), read_shape(tensor)
        _quick.TF_DeleteTensor(tensor)
        return new_tensor(data_type, shape, None, 0)
    return tensor


def read_shape(tensor: int) -> tuple[int, ...]:
    """The tensor's shape."""
    return tuple([_quick.TF_Dim(tensor, i) for i in range(_quick.TF_NumDims(tensor))])


def read_type(tensor: int) -> int:
    """The tensor's DataType number."""
    data_type: int = _quick.TF_TensorType(tensor)
    return data_type


def byte_size(tensor: int) -> int:
    """The size of a tensor's values, in bytes."""
    size: int = _quick.TF_TensorByteSize(tensor)
    return size


def read_content(tensor: int, head: bytes = b"") -> bytes | memoryview:
    """The raw bytes of a tensor of numbers, after those of `head`."""
    size = _quick.TF_TensorByteSize(tensor)
    if size < _LARGE:
        return head + ctypes.string_at(_quick.TF_TensorData(tensor), size) if size else head
    content = np.empty(len(head) + size, np.uint8)
    content[: len(head)] = np.frombuffer(head, np.uint8)
    _copy_large(content.__array_interface__["data"][0] + len(head), _quick.TF_TensorData(tensor), size)
    content.flags.writeable = False
    return content.data


def read_strings(tensor: int) -> list[bytes]:
    """The elements of a string tensor, in row-major order."""
    data, size = _quick.TF_TensorData(tensor), _quick.TF_TensorByteSize(tensor)
    return [
        ctypes.string_at(_quick.TF_StringGetDataPointer(at), _quick.TF_StringGetSize(at))
        for at in range(data or 0, (data or 0) + size, _SIZE_OF_TSTRING)
    ]


def array_from_tensor(tensor: int) -> Array:
    """A copy of the tensor's values, in its shape: a read-only array of numbers, or an object array of bytes.

    Resources and variants have no values outside of TensorFlow: each element is None.
    """
    data_type, shape = read_type(tensor), read_shape(tensor)
    if data_type == DataType.STRING:
        strings = np.empty(shape, dtype=object)
        strings.ravel()[:] = read_strings(tensor)
        return strings
    if not DataType(data_type).is_number:
        return np.full(shape, None, dtype=object)
    return np.frombuffer(read_content(tensor), dtype=DataType(data_type).numpy).reshape(shape)


def slice_rows(tensor: int, begin: int, end: int) -> int:
    """A tensor with a copy of the rows [begin, end) of the first dimension: shape (end - begin, …).

    Raises:
        StatusError: INVALID_ARGUMENT; its values are neither numbers nor strings.
    """
    data_type, shape = read_type(tensor), read_shape(tensor)
    part = (end - begin, *shape[1:])
    if data_type == DataType.STRING:
        width = math.prod(shape[1:])
        return tensor_from_strings(read_strings(tensor)[begin * width : end * width], part)
    _require_numbers(data_type)
    width = _quick.TF_TensorByteSize(tensor) // shape[0] if shape[0] else 0
    data = _quick.TF_TensorData(tensor)
    return new_tensor(data_type, part, (data or 0) + begin * width, (end - begin) * width)


def concatenate(tensors: Sequence[int]) -> int:
    """A tensor with a copy of all rows of these, which must agree in type and in all dimensions but the first.

    Raises:
        StatusError: INVALID_ARGUMENT; their values are neither numbers nor strings.
    """
    data_type, rest = read_type(tensors[0]), read_shape(tensors[0])[1:]
    shape = (sum(_quick.TF_Dim(tensor, 0) for tensor in tensors), *rest)
    if data_type == DataType.STRING:
        return tensor_from_strings([text for tensor in tensors for text in read_strings(tensor)], shape)
    _require_numbers(data_type)
    sizes = [_quick.TF_TensorByteSize(tensor) for tensor in tensors]
    merged = new_tensor(data_type, shape, None, sum(sizes))
    target = _quick.TF_TensorData(merged)
    for tensor, size in zip(tensors, sizes, strict=True):
        if size:
            (_copy if size < _LARGE else _copy_large)(target, _quick.TF_TensorData(tensor), size)
            target += size
    return merged


def _require_numbers(data_type: int) -> None:
    if not DataType(data_type).is_number:
        raise invalid_argument(f"Tensors of DataType {data_type} cannot be sliced or concatenated.")


def delete(tensor: int) -> None:
    """Free a tensor."""
    (_quick if _quick.TF_TensorByteSize(tensor) < _LARGE else _blocking).TF_DeleteTensor(tensor)


def delete_all(tensors: Iterable[int]) -> None:
    """Free tensors."""
    for tensor in tensors:
        delete(tensor)


@contextmanager
def kept_tensors() -> Iterator[list[int]]:
    """A list of tensors, which are freed at the context's end."""
    tensors: list[int] = []
    try:
        yield tensors
    finally:
        delete_all(tensors)


class Call:
    """Feeds and fetches of one kind of run, resolved once, and how long such runs take for given shapes of the inputs.

    is_bounded says that these shapes, and not the values, decide how long a run takes (`graphs.bounded`).
    """

    __slots__ = ("feeds", "fetches", "inputs", "is_bounded", "outputs", "pace", "results", "values")

    def __init__(
        self, inputs: Sequence[tuple[int, int]], outputs: Sequence[tuple[int, int]], *, is_bounded: bool = False
    ) -> None:
        self.is_bounded, self.pace = is_bounded, Pace()
        self.inputs, self.outputs = len(inputs), len(outputs)
        self.feeds = (_Output * len(inputs))(*[_Output(*endpoint) for endpoint in inputs])
        self.fetches = (_Output * len(outputs))(*[_Output(*endpoint) for endpoint in outputs])
        self.values, self.results = c_void_p * len(inputs), c_void_p * len(outputs)


@lru_cache(maxsize=256)
def _run_options(timeout_ms: int | None, *, in_caller: bool) -> _Buffer:
    """A TF_Buffer with RunOptions."""
    data = RunOptions(timeout_in_ms=timeout_ms, inter_op_thread_pool=-1 if in_caller else 0).SerializeToString()
    buffer = _Buffer(ctypes.cast(c_char_p(data), c_void_p), len(data), None)
    buffer.owner = data  # the buffer only points at it
    return buffer


class Session:
    """A SavedModel in memory. Thread-safe but for close, which must come last."""

    def __init__(
        self, path: str, tags: Sequence[str], config: bytes, on_run: Callable[[float], None] = lambda _: None
    ) -> None:
        """Load the SavedModel at a path.

        Args:
            tags: those of the meta graph to load.
            config: a serialized ConfigProto.
            on_run: is called with the seconds that a run took, if it succeeded.

        Raises:
            StatusError: TensorFlow cannot load it; code and text are TensorFlow's.
        """
        load()
        self._on_run = on_run
        status = _Status()
        options = _quick.TF_NewSessionOptions()
        meta_graph = _quick.TF_NewBuffer()
        self._graph: int | None = _quick.TF_NewGraph()
        self._session: int | None = None
        try:
            _quick.TF_SetConfig(options, config, len(config), status.pointer)
            status.check()
            names = (c_char_p * len(tags))(*[tag.encode() for tag in tags])
            self._session = _blocking.TF_LoadSessionFromSavedModel(
                options, None, os.fsencode(path), names, len(tags), self._graph, meta_graph, status.pointer
            )
            status.check()
            self.meta_graph = ctypes.string_at(meta_graph.contents.data, meta_graph.contents.length)
        except StatusError:
            self.close()
            raise
        finally:
            _quick.TF_DeleteBuffer(meta_graph)
            _quick.TF_DeleteSessionOptions(options)

    def endpoint(self, name: str) -> tuple[int, int] | None:
        """The operation and the number of its output for a tensor's name ("x:0"); None if the graph has none such."""
        operation_name, _, index = name.partition(":")
        operation = _quick.TF_GraphOperationByName(self._graph, operation_name.encode())
        number = int(index) if index.isdecimal() else 0
        if operation is None or number >= _quick.TF_OperationNumOutputs(operation):
            return None
        return operation, number

    def run(self, call: Call, tensors: Sequence[int], timeout: float | None) -> list[int]:
        """Run once; the inputs stay the caller's, and the outputs become the caller's. timeout is in seconds.

        Raises:
            StatusError: the run failed; code and text are TensorFlow's.
            WouldBlock: it may take long, and this thread must not block.
        """
        results, status = call.results(), _status()
        # A gRPC call without a deadline has a very late one.
        timeout_ms = max(1, int(timeout * 1000)) if timeout is not None and timeout < _FOREVER else None
        # To hand a run of microseconds to TensorFlow's pool costs more than the run. In the caller it has no time-out.
        shapes = tuple([read_shape(tensor) for tensor in tensors]) if call.is_bounded else ()
        in_caller = call.is_bounded and call.pace.is_quick(shapes)
        if not in_caller:
            check_may_block()
        options = byref(_run_options(timeout_ms, in_caller=in_caller))
        start = time.perf_counter()
        _blocking.TF_SessionRun(
            self._session, options, call.feeds, call.values(*tensors), call.inputs,
            call.fetches, results, call.outputs, None, 0, None, status.pointer,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        status.check()
        self._on_run(seconds)
        made: list[int] = list(results)
        if call.is_bounded:  # one that failed may have ended early, and so is not recorded
            is_small = sum(map(byte_size, made)) <= SMALL_BYTES
            call.pace.record(shapes, seconds if is_small else math.inf)
        return made

    def close(self) -> None:
        """Free the memory. No run may be under way."""
        status = _Status()
        if self._session is not None:
            _blocking.TF_CloseSession(self._session, status.pointer)
            _blocking.TF_DeleteSession(self._session, status.pointer)
            self._session = None
        if self._graph is not None:
            _blocking.TF_DeleteGraph(self._graph)
            self._graph = None
        if hasattr(ctypes.PyDLL(None), "malloc_trim"):
            ctypes.CDLL(None).malloc_trim(0)

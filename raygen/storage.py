"""Files of a population, on a local disk or on any file system that pyarrow opens.

A file exists completely or not at all. On a local disk it is written to a temporary name, synced
and renamed. On an object store (``s3://``, ``gs://``) the upload publishes it when it is closed.
"""

import os
import shutil
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs

from raygen.errors import ConfigError

_SCRATCH = ".tmp"


class Store:
    """A directory, by path or URI, whose files appear as a whole.

    Parameters
    ----------
    location
        Local path, or a URI such as ``s3://bucket/folder``.

    Raises
    ------
    ConfigError
        If the URI is of a kind that pyarrow cannot open.
    """

    def __init__(self, location: str) -> None:
        self.location = location
        self._fs, self._root = self._open()

    def _open(self) -> tuple[pafs.FileSystem, str]:
        """Return the file system and the directory's path in it."""
        if "://" not in self.location:
            return pafs.LocalFileSystem(), str(Path(self.location).absolute())
        try:
            return pafs.FileSystem.from_uri(self.location)
        except (pa.ArrowInvalid, OSError) as error:
            msg = f"{self.location}: cannot be opened as a file system: {error}"
            raise ConfigError(msg) from None

    @property
    def local(self) -> Path | None:
        """The directory on this machine's disk; None for any other file system."""
        return Path(self._root) if isinstance(self._fs, pafs.LocalFileSystem) else None

    def path(self, name: str) -> str:
        """Return the path of a file for messages."""
        return f"{self.location.rstrip('/')}/{name}"

    def write(self, name: str, content: bytes) -> None:
        """Write a file as a whole, replacing one of the same name.

        Parameters
        ----------
        name
            Path below the directory, with ``/``; its folders are made.
        content
            All its bytes.

        Raises
        ------
        OSError
            If the disk is full or the place is not writable; the error names the file.
        """
        root = self.local
        if root is None:
            self._fs.create_dir(f"{self._root}/{name}".rpartition("/")[0], recursive=True)
            with self._fs.open_output_stream(f"{self._root}/{name}") as sink:
                sink.write(content)
            return
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # Two attempts at one shard may write at once, hence a name of its own for each.
        scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}{_SCRATCH}")
        try:
            with scratch.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(path)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
        finally:
            scratch.unlink(missing_ok=True)
        _sync(path.parent)

    def read(self, name: str) -> bytes:
        """Return the bytes of a file; FileNotFoundError where there is none."""
        with self._fs.open_input_stream(f"{self._root}/{name}", compression=None) as source:
            return source.read()

    def open(self, name: str) -> pa.NativeFile:
        """Open a file for reading at any place; FileNotFoundError where there is none."""
        return self._fs.open_input_file(f"{self._root}/{name}")

    @contextmanager
    def sink(self, name: str) -> Generator[pa.NativeFile]:
        """Open a file for writing, of any size; it appears when the block ends without an error.

        On an object store what was uploaded before an error may stay: write there what is found
        by a later file alone.
        """
        root = self.local
        if root is None:
            self._fs.create_dir(f"{self._root}/{name}".rpartition("/")[0], recursive=True)
            with self._fs.open_output_stream(f"{self._root}/{name}") as file:
                yield file
            return
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}{_SCRATCH}")
        try:
            with pa.OSFile(str(scratch), "wb") as file:
                yield file
            _sync(scratch)
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)
        _sync(path.parent)

    def clear(self, folder: str) -> None:
        """Remove a folder with all that is in it, if it is there."""
        where = f"{self._root}/{folder}"
        if self._fs.get_file_info(where).type != pafs.FileType.NotFound:
            self._fs.delete_dir(where)

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes, None where there is none."""
        info = self._fs.get_file_info(f"{self._root}/{name}")
        return info.size if info.type == pafs.FileType.File else None

    def names(self, folder: str = "") -> list[str]:
        """Return the names in a folder, sorted; none where there is no folder."""
        where = f"{self._root}/{folder}".rstrip("/")
        found = self._fs.get_file_info(pafs.FileSelector(where, allow_not_found=True))
        return sorted(info.base_name for info in found)

    def sweep(self, folder: str) -> None:
        """Remove the temporary files that a killed process left in a folder."""
        for name in self.names(folder):
            if name.startswith(".") and name.endswith(_SCRATCH):
                self._fs.delete_file(f"{self._root}/{folder}/{name}")

    def free_bytes(self) -> int | None:
        """Return the free space of the disk that holds the directory, None where unknown."""
        path = self.local
        if path is None:
            return None
        while not path.exists():
            path = path.parent
        return shutil.disk_usage(path).free

    def probe(self) -> None:
        """Write and remove a file, so that a place that cannot be written is found at once."""
        name = f".{uuid.uuid4().hex}{_SCRATCH}"
        self.write(name, b"")
        self._fs.delete_file(f"{self._root}/{name}")


def _sync(path: Path) -> None:
    """Make a file, or a rename in a folder, outlast a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

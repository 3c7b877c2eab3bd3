"""Runs programs in the image's file tree as a container engine would, with nothing but the kernel's namespaces.

The root is read-only, the user is the image's (1000), no privilege can be gained, and without `network` not even the
loopback interface is up. A program of the image is the first process of its own process namespace, as in an engine.
"""

import json
import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

SHARED_MEMORY = "64m"
DEVICES = ("null", "zero", "random", "urandom")


@dataclass(frozen=True)
class Mount:
    """A folder or a file of this machine that a container sees at `target`."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True)
class Image:
    """A mounted image: its file tree, and its configuration in OCI's words."""

    root: Path
    configuration: Mapping[str, Any]

    @classmethod
    def read(cls, root: Path, configuration: Path) -> "Image":
        """Return the image that is mounted at a folder; its configuration is what `buildah inspect` prints."""
        return cls(root, json.loads(configuration.read_text())["OCIv1"]["config"])

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the image sets."""
        return dict(each.split("=", 1) for each in self.configuration["Env"])

    def start(
        self,
        words: Sequence[str],
        *,
        mounts: Sequence[Mount] = (),
        environment: Mapping[str, str] | None = None,
        network: bool = False,
        entrypoint: Sequence[str] | None = None,
        working_folder: str | None = None,
    ) -> "Container":
        """Start a container with the words as its command.

        Args:
            words: what follows the entry point.
            mounts: what it sees of this machine.
            environment: beside what the image sets.
            network: whether it shares the network of this machine.
            entrypoint: in the place of the image's.
            working_folder: in the place of the image's.
        """
        variables = self.environment | dict(environment or {})
        program = [*(self.configuration["Entrypoint"] if entrypoint is None else entrypoint), *words]
        inside = ["env", "-i", *(f"{name}={value}" for name, value in variables.items())]
        folder = shlex.quote(working_folder or self.configuration["WorkingDir"])
        inside += ["sh", "-c", f'cd {folder} && exec "$@"', "sh", *program]
        user = self.configuration["User"]
        change = ["setpriv", "--no-new-privs", "chroot", f"--userspec={user}", "--groups=", str(self.root), *inside]
        spaces = ["--mount", "--pid", "--fork", "--ipc", "--uts", *([] if network else ["--net"])]
        script = "\n".join(["set -eu", *self._mounting(mounts), f"exec {shlex.join(change)}"])
        output, errors = (tempfile.TemporaryFile("w+") for _ in range(2))  # noqa: SIM115  closed at the container's end
        popen = subprocess.Popen(["unshare", *spaces, "sh", "-c", script], stdout=output, stderr=errors, text=True)
        return Container(popen, output, errors)

    def run(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Start a container, as `start` does, and wait for its end."""
        return self.start(words, **options).wait()

    def _mounting(self, mounts: Sequence[Mount]) -> list[str]:
        """Return the shell's lines that make the file system of a container, in a mount namespace of its own."""
        root = shlex.quote(str(self.root))
        lines = ["mount --make-rprivate /", f"mount --bind {root} {root}", f"mount -t tmpfs tmpfs {root}/run"]
        for mount in mounts:  # an engine makes the points, too
            make = "mkdir -p" if mount.source.is_dir() else "touch"
            lines.append(f"test -e {root}{self._place(mount)} || {make} {root}{self._place(mount)}")
        lines += [f"mount -o remount,bind,ro {root}", f"mount -o remount,ro {root}/run"]
        lines += [f"mount -t proc proc {root}/proc", f"mount -t tmpfs -o mode=755 tmpfs {root}/dev"]
        for device in DEVICES:
            lines += [f"touch {root}/dev/{device}", f"mount --bind /dev/{device} {root}/dev/{device}"]
        lines += [f"mkdir {root}/dev/shm", f"mount -t tmpfs -o size={SHARED_MEMORY},mode=1777 tmpfs {root}/dev/shm"]
        for name in ("hosts", "resolv.conf"):
            lines.append(f"test ! -e {root}/etc/{name} || mount --bind /etc/{name} {root}/etc/{name}")
        for mount in mounts:
            target = f"{root}{self._place(mount)}"
            lines.append(f"mount --bind {shlex.quote(str(mount.source))} {target}")
            if not mount.writable:
                lines.append(f"mount -o remount,bind,ro {target}")
        return lines

    def _place(self, mount: Mount) -> str:
        """Return the target as the file tree has it: seen from outside, /var/run would lead out of it."""
        leads_out = (self.root / "var" / "run").is_symlink()
        return mount.target.replace("/var/run/", "/run/", 1) if leads_out else mount.target


@dataclass
class Container:
    """A container that runs."""

    popen: subprocess.Popen[str]
    output: IO[str]
    errors: IO[str]

    def wait(self) -> "subprocess.CompletedProcess[str]":
        """Wait for its end, and return exit status, standard output and standard error."""
        status = self.popen.wait()
        texts = []
        for file in (self.output, self.errors):
            file.seek(0)
            texts.append(file.read())
            file.close()
        return subprocess.CompletedProcess(self.popen.args, status, *texts)

    def terminate(self) -> "subprocess.CompletedProcess[str]":
        """Send SIGTERM to the process that is 1 inside, as an engine does, and wait."""
        os.kill(self._first_process(), signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End it at once, if it still runs; with the first process of a process namespace all others end."""
        if self.popen.poll() is None:
            os.kill(self._first_process(), signal.SIGKILL)
            self.wait()

    def _first_process(self) -> int:
        """Return the number, as seen from outside, of the process that is 1 inside."""
        (first,) = Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children").read_text().split()
        return int(first)

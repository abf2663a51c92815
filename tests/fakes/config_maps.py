"""Stand-in for the kubelet's volume of a ConfigMap: a key is a link through ..data, and ..data is what is replaced."""

import itertools
import pathlib


class ConfigMapVolume:
    """One key, in a folder that may have other files. It is not there until it is published."""

    def __init__(self, folder: pathlib.Path, key: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / key
        self._versions = itertools.count()

    def publish(self, text: str | None) -> None:
        """Bring a new version, in which the key is missing if there is no text."""
        version = self.path.with_name(f"..{next(self._versions)}")
        version.mkdir()
        if text is not None:
            (version / self.path.name).write_text(text)
        draft = self.path.with_name("..data_tmp")
        draft.symlink_to(version.name)
        draft.rename(self.path.with_name("..data"))
        if text is None:
            self.path.unlink(missing_ok=True)
        elif not self.path.is_symlink():
            self.path.symlink_to(f"..data/{self.path.name}")

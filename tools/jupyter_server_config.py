"Saves the notebooks of this project clean; `make install` puts it into the environment."

from pathlib import Path
from typing import Any


def clean_before_saving(model: dict, path: str, contents_manager: Any, **_: Any) -> None:
    "Clean a notebook of a project of nbdev whose settings.ini says `jupyter_hooks = True`"
    try:
        from nbdev.clean import clean_jupyter
    except ModuleNotFoundError:
        return
    # nbdev's own hook takes paths for relative to where the server was started
    file = Path(contents_manager.root_dir, path)
    if file.is_file():
        clean_jupyter(path=file, model=model)


# Jupyter gives this file its settings as `c`
globals()['c'].ContentsManager.pre_save_hook = clean_before_saving

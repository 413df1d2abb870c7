"""
Look into the wheel and the sdist: is in what must be in, and nothing else?
"""

import sys
import tarfile
import zipfile
from pathlib import Path

problems = []
for file in sys.argv[1:]:
    if file.endswith(".whl"):
        with zipfile.ZipFile(file) as wheel:
            names = wheel.namelist()
        needed = {"twisted/plugins/jsremote.py"} | {
            str(path)
            for path in Path("jobscheduler_tcp").rglob("*")
            if path.suffix in {".py", ".typed"}
        }
        foreign = {
            name
            for name in names
            if not name.startswith("jobscheduler_tcp") and name != "twisted/plugins/jsremote.py"
        }
    else:
        with tarfile.open(file) as sdist:
            names = [name.partition("/")[2] for name in sdist.getnames()]
        needed = {"README.md", "LICENSE", "pyproject.toml", "setup.cfg", "docs/conf.py"} | {
            str(path)
            for folder in ("jobscheduler_tcp", "tests", "twisted")
            for path in Path(folder).rglob("*.py")
        }
        foreign = {name for name in names if name.endswith((".pyc", "dropin.cache"))}
    print(f"{Path(file).name}: {len(names)} files")
    problems += [f"{file} lacks {name}" for name in sorted(needed - set(names))]
    problems += [f"{file} has {name}" for name in sorted(foreign)]

print("\n".join(problems) or "complete")
sys.exit(bool(problems))

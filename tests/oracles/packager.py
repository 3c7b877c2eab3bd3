"""What the MAP packager's own code makes of an app.yaml; run by an interpreter that has `holoscan-cli<4.3`.

`python packager.py APPLICATION APP_YAML PACKS` prints {"app.json": …, "pkg.json": …}. Nothing is built. The SDK, its
version and the platform are left out: the packager fills them in from its command line and from what is installed.
"""

import json
import sys
from importlib import import_module  # the environment that runs the tests has a newer holoscan-cli, without packager
from pathlib import Path


def main() -> None:
    """Read the configuration and populate both manifests."""
    application, configuration, packs = map(Path, sys.argv[1:])
    parameters = import_module("holoscan_cli.packager.parameters").PackageBuildParameters()
    parameters.application = application
    parameters.models = import_module("holoscan_cli.packager.models").Models().build(packs)
    reader = import_module("holoscan_cli.packager.config_reader").ApplicationConfiguration()
    reader.read(configuration)
    manifests = {
        "app.json": reader.populate_app_manifest(parameters).data,
        "pkg.json": reader.populate_package_manifest(parameters).data,
    }
    print(json.dumps(manifests))


if __name__ == "__main__":
    main()

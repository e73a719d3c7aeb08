"""Write the typed clients' generated halves from an OpenAPI document of the service.

    timbre openapi build/openapi.json
    python clients/generate.py build/openapi.json python
    python clients/generate.py build/openapi.json typescript

`make clients` does both and builds the packages. What is generated is not committed: it is a
function of the service's document, and the tests make it anew from the running service.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
Json = dict[str, Any]


def main() -> None:
    """Read the command line and generate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("document", type=Path, help="the OpenAPI document")
    parser.add_argument("language", choices=["python", "typescript"])
    parser.add_argument(
        "--into", type=Path, help="folder of the package; by default the one beside this file"
    )
    given = parser.parse_args()
    folder = given.into or HERE / given.language
    document = for_clients(json.loads(given.document.read_text(encoding="utf-8")))
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "openapi.json"
        source.write_text(json.dumps(document), encoding="utf-8")
        (python if given.language == "python" else typescript)(source, folder)


def for_clients(document: Json) -> Json:
    """The document as a client needs it: one way to say each thing.

    Recordings are sent as multipart only, so the same fields as query parameters, which belong to a
    raw body, would be a second way to say the same. Keys are set once, on the client. The paths of
    another service's clients are for those.
    """
    document["paths"] = {
        path: item
        for path, item in document["paths"].items()
        if not any("azure" in operation["tags"] for operation in item.values())
    }
    for item in document["paths"].values():
        for operation in item.values():
            operation.pop("security", None)
            content = operation.get("requestBody", {}).get("content", {})
            form = content.get("multipart/form-data")
            if form is not None:
                operation["requestBody"]["content"] = {"multipart/form-data": form}
                fields = form["schema"]["properties"]
                operation["parameters"] = [
                    each
                    for each in operation.get("parameters", [])
                    if not (each["in"] == "query" and each["name"] in fields)
                ]
            elif "application/octet-stream" in content:
                # The other media types stand for the same bytes.
                operation["requestBody"]["content"] = {
                    "application/octet-stream": content["application/octet-stream"]
                }
    document["components"]["schemas"] = used(document)
    return document


def used(document: Json) -> Json:
    """The schemas that the paths lead to."""
    schemas, found = document["components"]["schemas"], {}
    waiting = [document["paths"]]
    while waiting:
        for name in re.findall(r"#/components/schemas/(\w+)", json.dumps(waiting.pop())):
            if name not in found:
                found[name] = schemas[name]
                waiting.append(schemas[name])
    return {name: schema for name, schema in schemas.items() if name in found}


def python(source: Path, folder: Path) -> None:
    """Write the package timbre_client."""
    package = folder / "timbre_client"
    command = ["generate", "--path", str(source), "--config", str(HERE / "python" / "generator.yaml")]
    command += ["--meta", "none", "--output-path", str(package), "--overwrite", "--fail-on-warning"]
    run([sys.executable, "-m", "openapi_python_client", *command])
    (package / "py.typed").touch()
    run([sys.executable, "-m", "ruff", "format", "--quiet", "--isolated", str(package)])


def typescript(source: Path, folder: Path) -> None:
    """Write src/schema.ts; `npm ci` must have run in the folder."""
    if not (folder / "node_modules").is_dir():
        sys.exit(f"{folder} has no node_modules: run npm ci in it first")
    run(["node", str(folder / "generate.mjs"), str(source), str(folder / "src" / "schema.ts")])


def run(command: list[str]) -> None:
    """Run a tool; what it says is shown only when it fails."""
    if shutil.which(command[0]) is None:
        sys.exit(f"{command[0]} was not found")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[:4])} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()

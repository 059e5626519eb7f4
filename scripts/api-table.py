#!/usr/bin/env python3
"""Writes the table of routes in docs/API.md from a running server's OpenAPI document.

    scripts/api-table.py [URL]      puts the table into docs/API.md
    scripts/api-table.py --print    writes it to standard output

Routes and summaries come from URL (http://127.0.0.1:7880/api/openapi.json unless told). Who may use a
route comes from the source: the Permission that its handler requires, by the table of roles in
platform/src/web/permission.rs.
"""
import json
import pathlib
import re
import sys
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/API.md"
BEGIN, END = "<!-- routes: scripts/api-table.py -->", "<!-- end of routes -->"
CRATES = ["platform", "signaling", "adapters/rtsp", "adapters/gb28181", "adapters/ingest", "recorder", "server"]


def roles() -> dict[str, str]:
    """The roles that have a permission, by the permission's name."""
    text = (ROOT / "platform/src/web/permission.rs").read_text()
    every = re.search(r"const ALL.*?= \[(.*?)\];", text, re.S).group(1)
    table = {name: ["admin"] for name in re.findall(r"Self::(\w+)", every)}
    for role in ("Dispatcher", "Member"):
        names = re.search(rf"Role::{role} => .*?matches!\(\s*self,(.*?)\)", text, re.S).group(1)
        for name in re.findall(r"P::(\w+)", names):
            table[name].append(role.lower())
    return {name: "everybody signed in" if len(who) == 3 else ", ".join(who) for name, who in table.items()}


def guards() -> dict[tuple[str, str], str]:
    """The permission that a handler requires, by method and path."""
    found = {}
    for crate in CRATES:
        for file in (ROOT / crate / "src").rglob("*.rs"):
            text = file.read_text()
            pieces = re.split(r"#\[utoipa::path\(", text)
            named = re.findall(r"require\(Permission::(\w+)\)", text)
            for piece in pieces[1:]:
                route = re.match(r'\s*(get|post|put|patch|delete),\s*path = "([^"]+)"', piece)
                if not route:
                    continue
                own = re.search(r"require\(Permission::(\w+)\)", piece)
                # A file whose handlers share a helper requires one permission for all of them.
                name = own.group(1) if own else named[0] if len(set(named)) == 1 else ""
                found[route.group(1), "/api/v1" + route.group(2)] = name
    return found


def table(url: str) -> str:
    with urllib.request.urlopen(url) as answer:
        document = json.load(answer)
    by_role, required = roles(), guards()
    lines = ["| method | path | what | who |", "|---|---|---|---|"]
    for path, methods in sorted(document["paths"].items()):
        for method in ("get", "post", "put", "patch", "delete"):
            if method not in methods:
                continue
            operation = methods[method]
            if (method, path) not in required:
                sys.exit(f"{method} {path} is served, and no handler for it was found in the source")
            name = required[method, path]
            who = by_role[name] if name else "everybody signed in"
            if operation.get("security") == [{}]:
                who = "everybody"
            lines.append(f"| {method.upper()} | `{path}` | {operation.get('summary', '').rstrip('.')} | {who} |")
    return "\n".join(lines)


def main() -> None:
    words = [word for word in sys.argv[1:] if word != "--print"]
    text = table(words[0] if words else "http://127.0.0.1:7880/api/openapi.json")
    if "--print" in sys.argv:
        print(text)
        return
    before, rest = PAGE.read_text().split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")
    print(f"{PAGE.relative_to(ROOT)}: {text.count(chr(10)) - 1} routes")


main()

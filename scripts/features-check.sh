#!/usr/bin/env bash
# Every test that docs/FEATURES.md and docs/FAILURES-OF-OTHERS.md name must exist: `file::test` in
# backquotes, where a JavaScript test's name may be given up to its first parameter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bad=0 seen=0
while IFS= read -r named; do
    file=${named%%::*} name=${named#*::}
    seen=$((seen + 1))
    [ -f "$file" ] || { echo "$file does not exist, but the documents name its test '$name'"; bad=1; continue; }
    case $file in
        *.rs) pattern="fn $name(" ;;
        *.py) pattern="def $name(" ;;
        *.mjs | *.ts) pattern=$name ;;
        *) echo "$file is not a file of tests"; bad=1; continue ;;
    esac
    found=$(grep -F -- "$pattern" "$file" || true)
    case $file in *.mjs | *.ts) found=$(grep -E '\b(test|it)\(' <<<"$found" || true) ;; esac
    [ -n "$found" ] || { echo "$file has no test '$name', but the documents name it"; bad=1; }
done < <(grep -ohE '`[A-Za-z0-9_./-]+\.(rs|py|mjs|ts)::[^`]+`' docs/FEATURES.md docs/FAILURES-OF-OTHERS.md | tr -d '`' | sort -u)
[ "$seen" -gt 0 ] || { echo "the documents name no tests"; bad=1; }
exit $bad

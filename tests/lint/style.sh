#!/usr/bin/env bash
# What .clang-format can't settle: no typedef of a struct, union or enum; no tabs or trailing blanks in C; no public name that
# begins with a dependency's prefix; nothing of the machine that it was written on; no address of a package registry (the package
# managers' own configuration names those). `style.sh [ROOT]`
. "$(dirname "$0")/lint.sh"

mapfile -t c_files < <(files '*.c' '*.h')
mapfile -t headers < <(files '*.h' | grep -v '^tests/' || true)
# Every text of ours; the collections under tests/data and the seeds under tests/fuzz/corpus speak of whatever they like.
mapfile -t texts < <(files '*' | grep -vE '^(tests/data/|tests/fuzz/corpus/|tests/lint/)' | xargs -r grep -lI '' || true)

rule "typedef" "$(awk -f "$here/code.awk" -f <(echo '
        code ~ /(^|[^A-Za-z0-9_])typedef[ \t]+(struct|union|enum)([^A-Za-z0-9_]|$)/ { print FILENAME ":" FNR ": no typedef of a struct, union or enum" }') "${c_files[@]}")"
rule "tabs" "$(awk 'index($0, "\t") { print FILENAME ":" FNR ": a tab" }' "${c_files[@]}")"
rule "trailing blanks" "$(awk '/[ \t\r]$/ { print FILENAME ":" FNR ": trailing blanks" }' "${c_files[@]}")"
rule "prefixes" "$([ "${#headers[@]}" -eq 0 ] || awk '
        /^[A-Za-z_][^;={]*[ *](json|curl|CURL|ev|rd|redis[A-Z]|faiss|yaml|xml|MHD|sb|RD|SSL|EVP)_?[A-Za-z0-9_]*\(/ && !/^(static|#)/ {
                name = $0; sub(/\(.*/, "", name); sub(/.*[ *]/, "", name)
                if (name ~ /^(json_|curl_|CURL|ev_|rd_|redis[A-Z]|faiss_|yaml_|xml[A-Z]|MHD_|sb_|RD_|SSL_|EVP_)/)
                        print FILENAME ":" FNR ": " name "() begins with a dependency'"'"'s prefix"
        }' "${headers[@]}")"
rule "machine paths" "$(grep -nHE '(^|[^A-Za-z0-9_.])/(work|root|home/[a-z])/|(contract|design|anchors|style)\.md|shared/(peers|servers|data|hooks)' "${texts[@]}" |
        sed -E 's/^([^:]*:[0-9]*):.*/\1: names a place that is only on one machine/' || true)"
rule "registry hosts" "$(grep -nHEi '(pypi|pythonhosted)\.org|npmjs\.(org|com)|repo1?\.maven(\.apache)?\.org|proxy\.golang\.org|(deb|ftp|security|snapshot)\.debian\.org|crates\.io|://[^/ ]*(artifactory|nexus|\.internal|\.corp|\.lan)' "${texts[@]}" |
        sed -E 's/^([^:]*:[0-9]*):.*/\1: names a registry: leave that to the package manager/' || true)"

finish

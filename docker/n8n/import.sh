#!/bin/sh
# Brings the credentials and the workflows into n8n's database, before n8n starts.
#
# The credentials come from the environment, every time. The workflows come from the files when n8n
# has none of ours: what a builder changed in the editor stays. IMPORT=always takes the files over
# again, and keeps what n8n had in a folder beside its data. Workflows with other ids are left alone.
# What is imported takes effect when n8n starts the next time.
set -eu

import=${IMPORT_FOLDER:-/import}
workflows=${WORKFLOWS_FOLDER:-/workflows}
data=${N8N_USER_FOLDER:-/home/node}/.n8n
router_url=${N8N_ROUTER_URL:?the address at which n8n reaches the router}

# hybridflowAgent and hybridflowGateway are drafts to copy from: they are imported, not published.
published="hybridflowInbound hybridflowError hybridflowAutoResume hybridflowHandoff hybridflowConnection"

work=$(mktemp -d)
files=$work/workflows
mkdir "$files"
trap 'rm -rf "$work"; rm -f "$import/credentials.json"' EXIT

# Some of n8n's commands report a failure and end with 0.
run() {
    said=$(n8n "$@" 2>&1) || { echo "$said"; echo "n8n $1 failed"; exit 1; }
    case $said in
        *"An error occurred"* | *"Error updating"*) echo "$said"; echo "n8n $1 failed"; exit 1 ;;
    esac
    echo "n8n $1: done"
}

run import:credentials --input="$import/credentials.json"

for file in "$workflows"/*.json; do
    case $file in *.example.json | *.schema.json) continue ;; esac
    sed "s|\"value\": \"http://localhost:8000\"|\"value\": \"$router_url\"|" "$file" > "$files/${file##*/}"
done
sum=$(cat "$files"/*.json | sha256sum)

# The database may be newer than the mark: both have to know of the workflows.
present() {
    [ -e "$data/hybridflow-imported" ] \
        && n8n export:workflow --id=hybridflowInbound --output="$work/inbound" > "$work/said" 2>&1
}

if present; then
    if [ "${IMPORT:-}" != always ]; then
        [ "$(cat "$data/hybridflow-imported")" = "$sum" ] || echo "The files are not what was imported." \
            "To take them over: docker compose run --rm -e IMPORT=always n8n-import"
        echo "The workflows in n8n stay as they are"
        exit 0
    fi
    run export:workflow --backup --output="$data/before-$(date -u +%Y%m%d-%H%M%S)"
fi

# From here on a run that is cut off is done again whole. n8n's command refuses to import over what is
# published; a workflow that is not there yet cannot be unpublished, and that is no failure.
rm -f "$data/hybridflow-imported"
for id in $published; do
    n8n unpublish:workflow --id="$id" > "$work/said" 2>&1 || true
done
run import:workflow --separate --input="$files"
for id in $published; do
    run publish:workflow --id="$id"
done
mkdir -p "$data"
echo "$sum" > "$data/hybridflow-imported"

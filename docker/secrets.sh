#!/bin/sh
# Makes every secret that docker-compose.yml requires and that .env does not have yet.
#
#     sh docker/secrets.sh            what is set in .env stays as it is; twice does no harm
set -eu
umask 077

root=$(cd "$(dirname "$0")/.." && pwd)
file=${1:-$root/.env}
[ -e "$file" ] || cp "$root/.env.example" "$file"
chmod 600 "$file"

names=$(grep -o '\${[A-Z0-9_]*:?' "$root/docker-compose.yml" | tr -d '${:?' | sort -u)
for name in $names; do
    if grep -q "^$name= *[^ ]" "$file"; then continue; fi
    case $name in
        COMPOSE_PROFILES) value=router,n8n,evolution ;;
        API_KEYS) value=operator:$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n') ;;
        *) value=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n') ;;
    esac
    if grep -q "^$name=" "$file"; then
        sed "s|^$name=.*|$name=$value|" "$file" > "$file.new"
    else
        { cat "$file"; echo "$name=$value"; } > "$file.new"
    fi
    cat "$file.new" > "$file"
    echo "$name: made"
done
rm -f "$file.new"

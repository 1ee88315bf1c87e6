#!/usr/bin/env bash
# Prepares a machine of the cluster (Debian or Ubuntu): the locked versions of everything, the same
# as on a laptop, and the programs that they need. `cluster/setup.sh head` adds PostgreSQL.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
command -v make >/dev/null || missing+=(make)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
if [[ ${1:-} == head ]]; then
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null ||
        missing+=(postgresql)
fi
if ((${#missing[@]})); then
    as=(sudo)
    ((EUID)) || as=()
    export DEBIAN_FRONTEND=noninteractive
    wait=(-o DPkg::Lock::Timeout=600) # a new machine may be updating itself
    "${as[@]}" apt-get "${wait[@]}" -qq update
    "${as[@]}" apt-get "${wait[@]}" -qq -y install "${missing[@]}"
fi

make .venv/ready

# `ray down` and `ray exec` look for Ray in a login shell.
profile=~/.profile
for each in ~/.bash_login ~/.bash_profile; do
    [[ -e $each ]] && profile=$each
done
grep -qs "$PWD/.venv/bin" "$profile" || echo "export PATH=$PWD/.venv/bin:\$PATH" >>"$profile"

chmod 600 ~/.ray/auth_token

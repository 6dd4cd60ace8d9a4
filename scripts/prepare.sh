# Sourced by the commands beside it: installs or names what is missing, builds, enters the lab.
# shellcheck shell=bash

# need PROGRAM:PACKAGE ... - as root installs missing packages by apt; as an ordinary user names them and ends with 7.
need() {
    local pair program missing=()
    PATH="$PATH:/usr/sbin:/sbin"
    for pair in "$@"; do
        program="${pair%%:*}"
        command -v "$program" >/dev/null || missing+=("${pair#*:}")
    done
    [ ${#missing[@]} -eq 0 ] || install_or_name "${missing[@]}"
}

# need_library PKG-CONFIG-NAME:PACKAGE ... - the same for libraries with their headers.
need_library() {
    local pair missing=()
    for pair in "$@"; do
        pkg-config --exists "${pair%%:*}" || missing+=("${pair#*:}")
    done
    [ ${#missing[@]} -eq 0 ] || install_or_name "${missing[@]}"
}

install_or_name() {
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "missing packages: $*" >&2
        echo "  sudo apt-get install --no-install-recommends $*" >&2
        exit 7
    fi
    echo "installing $*" >&2
    install_quietly "$@"
}

# can_use_port ARGS... - what the driver in `--port` needs of this user, before anything is built: else named, and 7.
can_use_port() {
    local port='' previous='' argument
    for argument in "$@"; do
        case "$argument" in --port=*) port=${argument#--port=} ;; esac
        [ "$previous" != --port ] || port=$argument
        previous=$argument
    done
    case "$port" in
        af_xdp)
            is_real_root && return
            echo "--port af_xdp loads an XDP program, which only root may: run this with sudo, or with --port af_packet" >&2
            exit 7
            ;;
        tap)
            { : <>/dev/net/tun; } 2>/dev/null && return
            echo "--port tap needs /dev/net/tun, which $(id -un) cannot open for writing:" >&2
            echo "  sudo modprobe tun; sudo chmod 0666 /dev/net/tun" >&2
            echo "or run this with sudo, or with --port af_packet" >&2
            exit 7
            ;;
    esac
}

# Root outside of any user namespace.
is_real_root() {
    [ "$(id -u)" -eq 0 ] && [ "$(tr -s ' ' </proc/self/uid_map)" = ' 0 0 4294967295' ]
}

# Installs packages without starting any service they bring (nginx would take port 80).
install_quietly() {
    local policy=/usr/sbin/policy-rc.d ours=
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && ours=1
    fi
    local failed=0
    { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends "$@"; } \
        >/dev/null || failed=$?
    [ -z "$ours" ] || rm -f "$policy"
    [ "$failed" -eq 0 ] || { echo "apt-get install $* failed" >&2; exit 7; }
}

# Where cargo puts what it builds.
target_dir() {
    echo "${CARGO_TARGET_DIR:-$PWD/target}"
}

# Runs cargo; under sudo as the user who called it, whose toolchain and target folder it is.
as_builder() {
    if [ "$(id -u)" -eq 0 ] && [ -n "${SUDO_USER:-}" ] && [ "$SUDO_USER" != root ]; then
        sudo -u "$SUDO_USER" -H --preserve-env=CARGO_TARGET_DIR bash -lc 'cd "$1" && shift && exec "$@"' - "$PWD" "$@"
    else
        "$@"
    fi
}

# Builds every program that the lab runs; with BATON_BUILT=debug they are taken as `cargo build --workspace` left them.
build() {
    [ -z "${BATON_BUILT:-}" ] || return 0
    need cc:gcc
    if ! as_builder cargo --version >/dev/null 2>&1; then
        echo "missing: a Rust toolchain" >&2
        exit 7
    fi
    [ -x "$(target_dir)/release/baton-lab" ] || echo "building; the first time takes some minutes" >&2
    as_builder cargo build --release --quiet -p baton-supervisor -p baton-secondary -p baton-primary -p baton-tests \
        --bin baton --bin baton-dump --bin baton-gateway --bin baton-gateway-1 --bin baton-traffic --bin baton-lab
}

# in_lab SHOW ARGS... - runs baton-lab in namespaces of its own: processes, mounts, network and, for an ordinary
# user, users. Whatever it started or mounted is gone when its first process is, however that ended.
in_lab() {
    local flags=(--net --mount --pid --fork --kill-child --mount-proc)
    if [ "$(id -u)" -ne 0 ]; then
        flags=(--user --map-root-user "${flags[@]}")
        if ! unshare --user --map-root-user true 2>/dev/null; then
            echo "user namespaces are restricted on this machine (see kernel.apparmor_restrict_unprivileged_userns," >&2
            echo "user.max_user_namespaces, kernel.unprivileged_userns_clone); allow them, or run this with sudo" >&2
            exit 7
        fi
    fi
    # shellcheck disable=SC2016
    unshare "${flags[@]}" sh -c 'mount -t tmpfs -o mode=0755 tmpfs /run && TMPDIR=/run exec "$@"' \
        lab "$(target_dir)/${BATON_BUILT:-release}/baton-lab" "$@" &
    lab=$!
    trap 'end_lab TERM' INT TERM HUP
    trap 'end_lab KILL' EXIT
    local status=0
    wait "$lab" || status=$?
    # A trap interrupts `wait`: take the real end.
    while kill -0 "$lab" 2>/dev/null; do
        status=0
        wait "$lab" || status=$?
    done
    trap - EXIT
    return "$status"
}

# end_lab SIGNAL - asks the lab's first process to clean up (TERM), or ends all of it at once (KILL).
end_lab() {
    local first
    if [ "$1" = TERM ]; then
        first=$(cat "/proc/$lab/task/$lab/children" 2>/dev/null) || true
        # shellcheck disable=SC2086
        [ -z "$first" ] || kill -TERM $first 2>/dev/null || true
    else
        kill -KILL "$lab" 2>/dev/null || true
    fi
}

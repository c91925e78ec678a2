#!/usr/bin/env bash
# Brings in what millrace is built from. README.md beside this file says what and why.
#
#   deps.sh install   Debian 12: installs packages.txt by apt, builds sources.txt where the system has nothing new enough
#   deps.sh build     only the building (no root needed; on any Linux that has the packages)
#   deps.sh check     says what is there; exit 1 if something is missing
#   deps.sh env       prints make assignments (prefixes, CFLAGS, LDLIBS); works before install, too
#   deps.sh selftest  links and runs a program that uses all three built libraries
#
# Environment:
#   MILLRACE_DEPS     where builds are kept, outside the tree (default ${XDG_CACHE_HOME:-~/.cache}/millrace/deps)
#   FAISS_PREFIX      an installed FAISS with its C API, used instead of building one
#   JOBS              parallel compile jobs (default: one a CPU, one a GB of memory, whichever is fewer)
#
# Nothing of the system's apt configuration is touched: sources come through a private one, derived from it at run time.
set -euo pipefail
export LC_ALL=C.UTF-8
umask 022
# A build must not depend on who asked for it: `make asan` hands down its flags, make its jobs and variables.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL CC CXX AR CFLAGS CXXFLAGS CPPFLAGS LDFLAGS LDLIBS PREFIX DESTDIR

here=$(cd "${BASH_SOURCE[0]%/*}" && pwd)
cache=${MILLRACE_DEPS:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/millrace/deps}
logs=$cache/log
triplet=$HOSTTYPE-linux-gnu
blas_dir=/usr/lib/$triplet/openblas-openmp
faiss_given=${FAISS_PREFIX:-}

# ---- saying what happens ---------------------------------------------------------------------------------------------

say() { printf 'deps: %-10s  %s\n' "$1" "$2"; }
die() { printf 'deps: %s\n' "$@" >&2; exit 1; }

# step NAME WHAT FUNCTION...: one line on the terminal, everything else into a log whose tail is shown on failure.
step() {
    local name=$1 what=$2 log=$logs/$1.log started=$SECONDS status=0
    shift 2
    mkdir -p "$logs"
    printf 'deps: %-10s  %s ... ' "$name" "$what"
    # In a subshell of its own, so that set -e holds inside (it would not to the left of an || or in an if).
    set +e
    ( set -e; "$@" ) >"$log" 2>&1 </dev/null
    status=$?
    set -e
    if [ "$status" -eq 0 ]; then
        printf 'done in %d s\n' $((SECONDS - started))
        return
    fi
    printf 'FAILED\n'
    {
        printf -- '---- the end of %s\n' "$log"
        tail -n 25 "$log"
        printf -- '----\n'
    } >&2
    die "$name: $what failed; the whole log is $log"
}

# ---- the two tables --------------------------------------------------------------------------------------------------

packages() { sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$here/packages.txt"; }

# source_row NAME: sets version, recipe, suite, tarball, sha256.
source_row() {
    local name
    while read -r name version recipe suite tarball sha256; do
        [ "$name" = "$1" ] && return
    done <"$here/sources.txt"
    die "$1 is not in sources.txt"
}

# prefix_of NAME: sets prefix to where our own build of it lies.
prefix_of() {
    local version recipe suite tarball sha256
    source_row "$1"
    prefix=$cache/$1-$version-$recipe
}

# `env` gives the Makefile a FAISS_PREFIX, which may come back to us through the environment: that is none given.
prefix_of faiss
[ "$faiss_given" != "$prefix" ] || faiss_given=

# A build moves into place in one rename; BUILT is written before that, so a prefix without it is none of ours.
is_built() { prefix_of "$1"; [ -f "$prefix/BUILT" ]; }

has_system() {
    case $1 in
    hiredis) pkg-config --atleast-version=1.2 hiredis hiredis_ssl ;;
    librdkafka) pkg-config --atleast-version=2.8 rdkafka ;;
    *) return 1 ;;
    esac 2>/dev/null
}

# faiss_layout PREFIX: sets faiss_libdir, faiss_c, faiss_lib; fails when there is no FAISS with a C API.
faiss_layout() {
    local dir
    faiss_libdir=
    for dir in "$1/lib" "$1/lib64" "$1/lib/$triplet"; do
        if [ -f "$dir/libfaiss_c.a" ]; then
            faiss_c=$dir/libfaiss_c.a
        elif [ -f "$dir/libfaiss_c.so" ]; then
            faiss_c=-lfaiss_c
        else
            continue
        fi
        # A stock install has AVX2 in a library of its own, which stock faiss_c ignores. Objects can be linked with it.
        if [ "$faiss_c" != -lfaiss_c ] && [ -f "$dir/libfaiss_avx2.so" ] && grep -qw avx2 /proc/cpuinfo; then
            faiss_lib=-lfaiss_avx2
        elif [ -f "$dir/libfaiss.so" ] || [ -f "$dir/libfaiss.a" ]; then
            faiss_lib=-lfaiss
        else
            continue
        fi
        faiss_libdir=$dir
        [ -f "$1/include/faiss/c_api/Index_c.h" ] && return 0
    done
    return 1
}

# ---- env: what the Makefile includes -----------------------------------------------------------------------------------

# print_system VARIABLE LIBS MODULE...: a library that pkg-config knows. Outside /usr it needs a search path (one level up
# from hiredis.pc's own: we include <hiredis/hiredis.h>) and the loader needs to find it.
print_system() {
    local variable=$1 libs=$2 at includes='' rpath=''
    shift 2
    at=$(pkg-config --variable=prefix "$1")
    if [ "$at" != /usr ]; then
        includes="-isystem $(pkg-config --variable=includedir "$1")"
        rpath="-Wl,-rpath,$(pkg-config --variable=libdir "$1")"
    fi
    printf '%s_PREFIX := %s\n' "$variable" "$at"
    printf '%s_CFLAGS := %s\n' "$variable" "$includes $(pkg-config --cflags-only-other "$@")"
    printf '%s_LDLIBS := %s\n' "$variable" "$(pkg-config --libs "$@") $rpath $libs"
}

print_env() {
    local prefix version recipe suite tarball sha256

    case $cache$faiss_given in
    *[[:space:]\#\$]*) die "the paths of the cache and of FAISS_PREFIX may hold no blanks, # or \$ (make could not read them)" ;;
    esac
    printf '# Written by deploy/deps/deps.sh env.\n'

    if has_system hiredis; then
        print_system HIREDIS '-lssl -lcrypto' hiredis_ssl hiredis
    else
        prefix_of hiredis
        printf 'HIREDIS_PREFIX := %s\n' "$prefix"
        printf 'HIREDIS_CFLAGS := -isystem %s/include\n' "$prefix"
        printf 'HIREDIS_LDLIBS := %s/lib/libhiredis_ssl.a %s/lib/libhiredis.a -lssl -lcrypto\n' "$prefix" "$prefix"
    fi

    if has_system librdkafka; then
        print_system RDKAFKA '' rdkafka
    else
        prefix_of librdkafka
        printf 'RDKAFKA_PREFIX := %s\n' "$prefix"
        printf 'RDKAFKA_CFLAGS := -isystem %s/include\n' "$prefix"
        printf 'RDKAFKA_LDLIBS := %s/lib/librdkafka.a -lsasl2 -lssl -lcrypto -lzstd -llz4 -lz -lm -ldl -lpthread -lrt\n' "$prefix"
    fi

    prefix_of faiss
    [ -z "$faiss_given" ] || prefix=$faiss_given
    if ! faiss_layout "$prefix"; then # not installed yet: where it will be
        faiss_libdir=$prefix/lib faiss_c=$prefix/lib/libfaiss_c.a faiss_lib=-lfaiss
    fi
    printf 'FAISS_PREFIX := %s\n' "$prefix"
    printf 'FAISS_LIBDIR := %s\n' "$faiss_libdir"
    printf 'FAISS_CFLAGS := -isystem %s/include\n' "$prefix"
    printf 'FAISS_LDLIBS := %s -L%s %s -Wl,-rpath,%s' "$faiss_c" "$faiss_libdir" "$faiss_lib" "$faiss_libdir"
    [ -f "$faiss_libdir/libfaiss.so" ] || [ -z "$faiss_given" ] || printf ' -lopenblas'
    printf ' -lgomp -lstdc++ -lm -lpthread\n'
}

# ---- check -------------------------------------------------------------------------------------------------------------

# probe KIND:NAME: is it there, on a system whose packages have other names?
probe() {
    local name=${1#*:}
    case $1 in
    cmd:*) command -v "$name" ;;
    pkg:*) pkg-config --exists "$name" ;;
    header:*) printf '#include <%s>\n' "$name" | gcc -E -x c - ;;
    lib:*) printf 'int main(void) { return 0; }\n' | gcc -x c - -o /dev/null "-l$name" ;;
    file:*) [ -e "$name" ] ;;
    python:*) python3 -c "import $name" ;;
    node:*) NODE_PATH=/usr/share/nodejs node -e "require('$name')" ;;
    *) die "packages.txt: no such probe: $1" ;;
    esac >/dev/null 2>&1
}

# missing_packages: one a line. By dpkg on Debian 12, by probing elsewhere.
missing_packages() {
    local name how
    if is_debian_12; then
        # Names that dpkg has never heard of are no error here, only lines that do not come.
        comm -23 <(packages | awk '{print $1}' | sort) \
            <(packages | awk '{print $1}' | xargs dpkg-query -W -f='${db:Status-Status} ${Package}\n' 2>/dev/null |
                awk '$1 == "installed" {print $2}' | sort -u)
        return
    fi
    while read -r name how; do
        probe "$how" || printf '%s\n' "$name"
    done < <(packages)
}

is_debian_12() {
    local ID='' VERSION_ID=''
    [ -r /etc/os-release ] && . /etc/os-release
    [ "$ID $VERSION_ID" = "debian 12" ]
}

check() {
    local missing='' name prefix version recipe suite tarball sha256 status=0

    missing=$(missing_packages)
    if [ -n "$missing" ]; then
        say packages "missing: $(tr '\n' ' ' <<<"$missing")"
        status=1
    else
        say packages "all $(packages | wc -l) present"
    fi
    for name in hiredis librdkafka; do
        source_row "$name"
        if has_system "$name"; then
            say "$name" "$(pkg-config --modversion "${name/librdkafka/rdkafka}") of the system"
        elif is_built "$name"; then
            say "$name" "$version in $prefix"
        else
            say "$name" "missing: $version or newer"
            status=1
        fi
    done
    source_row faiss
    if [ -n "$faiss_given" ]; then
        if faiss_layout "$faiss_given"; then
            say faiss "given: $faiss_libdir ($faiss_lib)"
        else
            say faiss "missing: FAISS_PREFIX=$faiss_given has no include/faiss/c_api or no libfaiss_c with libfaiss"
            status=1
        fi
    elif is_built faiss; then
        say faiss "$version in $prefix"
    else
        say faiss "missing: $version with its C API"
        status=1
    fi
    return $status
}

# ---- Debian packages ---------------------------------------------------------------------------------------------------

as_root() {
    if [ "$EUID" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# While this file says 101, installing a package starts no service. A policy that is there already stays.
policy=/usr/sbin/policy-rc.d
policy_mark='# left by an interrupted deploy/deps/deps.sh of millrace: remove'
policy_set() {
    [ ! -e "$policy" ] || return 0
    trap policy_unset EXIT
    trap 'exit 129' HUP INT TERM
    printf '#!/bin/sh\n%s\nexit 101\n' "$policy_mark" | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
}
policy_unset() { ! grep -qsF "$policy_mark" "$policy" || as_root rm -f "$policy"; }

# apt_install PACKAGE...: removes nothing, starts nothing, asks nothing.
apt_install() {
    policy_set
    as_root apt-get -q update
    as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -q -y --no-install-recommends --no-remove \
        -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold install "$@"
    case " $* " in
    *' redis-server '*) as_root update-rc.d redis-server disable || true ;; # nor at the next boot: ours are private ones
    esac
    policy_unset
}

install_packages() {
    local missing
    policy_unset # a killed run's
    mapfile -t missing < <(missing_packages)
    if [ "${#missing[@]}" -eq 0 ]; then
        say packages "all $(packages | wc -l) present"
        return
    fi
    if [ "$EUID" -ne 0 ]; then
        command -v sudo >/dev/null ||
            die "not root, and there is no sudo. As root:" "  apt-get install --no-install-recommends ${missing[*]}"
        sudo -v || die "sudo refused"
    fi
    mkdir -p "$cache"
    exec {lock}>"$cache/.lock-packages"
    flock "$lock"
    step packages "installing ${#missing[@]} by apt" apt_install "${missing[@]}"
    exec {lock}>&-
}

# ---- sources, through a private apt configuration ------------------------------------------------------------------------

# debian_mirrors: "URI KEYRING" of every enabled deb entry for this release's main, KEYRING - where the entry names none.
# Reads both forms: one-line (/etc/apt/*.list) and deb822 (*.sources).
debian_mirrors() {
    local etc=/etc/apt list=() deb822=() file
    for file in "$etc"/sources.list "$etc"/sources.list.d/*.list; do [ ! -f "$file" ] || list+=("$file"); done
    for file in "$etc"/sources.list.d/*.sources; do [ ! -f "$file" ] || deb822+=("$file"); done
    [ "${#list[@]}" -eq 0 ] || awk '
        $1 == "deb" {
            keyring = "-"
            at = 2
            if ($2 ~ /^\[/) {
                while (at < NF && $at !~ /\]$/) at++
                at++
                if (match($0, /signed-by=[^] ]*/)) keyring = substr($0, RSTART + 10, RLENGTH - 10)
            }
            ours = 0
            for (i = at + 2; i <= NF && $i !~ /^#/; i++) ours += $i == "main"
            if (ours && $(at + 1) ~ /^(bookworm|stable|oldstable)\/?$/) print $at, keyring
        }' "${list[@]}"
    [ "${#deb822[@]}" -eq 0 ] || awk '
        function flush(   i, n, ours, uris) {
            ours = (" " field["types"] " ") ~ / deb / && (" " field["suites"] " ") ~ / (bookworm|stable|oldstable)\/? / &&
                   (" " field["components"] " ") ~ / main / && field["enabled"] !~ /^ *(no|false)/
            n = split(field["uris"], uris, " ")
            for (i = 1; ours && i <= n; i++) print uris[i], (field["signed-by"] ~ /^ *\/[^ ]*$/ ? field["signed-by"] : "-")
            delete field
            name = ""
        }
        FNR == 1 || /^[[:space:]]*$/ { flush() }
        /^#/ { next }
        /^[^[:space:]:]+:/ { name = tolower(substr($0, 1, index($0, ":") - 1)); sub(/^[^:]+:/, "") }
        name != "" { gsub(/[[:space:]]+/, " "); field[name] = field[name] $0 }
        END { flush() }' "${deb822[@]}"
}

# private_apt COMMAND...: apt-get or apt-cache with its own lists, cache and keys in $apt; verification as strict as ever.
private_apt() {
    local command=$1
    shift
    "$command" -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
        -o Dir::Etc::trusted=/dev/null -o Dir::Etc::trustedparts="$apt/keys" \
        -o Dir::State::lists="$apt/lists" -o Dir::Cache="$apt/cache" -o APT::Sandbox::User=root \
        -o APT::Update::Error-Mode=any -o Acquire::Retries=3 -o Acquire::Languages=none \
        -o Acquire::AllowInsecureRepositories=false -o Acquire::AllowWeakRepositories=false "$@"
}

# The keys apt may believe: Debian's archive keys and what the system's own entry names. Trixie's keys came to bookworm
# with an update of debian-archive-keyring; where that update is missing, fetch the package (checked by bookworm's keys)
# and take the keys from it, without installing it.
private_apt_keys() {
    local uri=$1 keyring=$2 file
    for file in /usr/share/keyrings/debian-archive-{keyring,bookworm-*,trixie-*}.gpg /etc/apt/trusted.gpg.d/*.{gpg,asc} "$keyring"; do
        [ ! -f "$file" ] || cp -L "$file" "$apt/keys/"
    done
    ! compgen -G "$apt/keys/debian-archive-trixie-*" >/dev/null || return 0
    echo "trixie's archive keys are not on this system: taking them from bookworm's debian-archive-keyring"
    printf 'deb %s bookworm main\n' "$uri" >"$apt/sources.list"
    private_apt apt-get -q update
    ( cd "$apt" && private_apt apt-get -q download debian-archive-keyring )
    dpkg-deb -x "$apt"/debian-archive-keyring_*.deb "$apt/keyring"
    cp -L "$apt"/keyring/usr/share/keyrings/debian-archive-{keyring,trixie-*}.gpg "$apt/keys/"
}

# fetch NAME: puts the pinned tarball into $cache/sources, or fails saying why. One put there by hand is as good.
# Works in $work.
fetch() {
    local version recipe suite tarball sha256 uri keyring apt shown revision
    source_row "$1"
    mkdir -p "$cache/sources"
    if [ -f "$cache/sources/$tarball" ]; then
        verify "$cache/sources/$tarball" "$sha256"
        return
    fi

    read -r uri keyring < <(debian_mirrors | grep -v '^cdrom:' | head -n 1) || true
    if [ -z "${uri:-}" ] || ! command -v apt-get >/dev/null; then
        echo "no apt source for Debian 12's main to derive a source line from."
        echo "Put $tarball (any Debian mirror has it, in pool/main) into $cache/sources/ and run this again."
        return 1
    fi
    apt=$work/apt
    mkdir -p "$apt"/{keys,keyring,lists/partial,cache/archives/partial}
    [ "$suite" = bookworm ] || private_apt_keys "$uri" "$keyring"
    [ "$suite" != bookworm ] || cp -L /usr/share/keyrings/debian-archive-*.gpg "$apt/keys/"
    printf 'deb-src %s %s main\n' "$uri" "$suite" >"$apt/sources.list"
    private_apt apt-get -q update

    # Which of Debian's revisions carries our tarball? ("Checksums-Sha256" is the only field with 64 digits.)
    shown=$(private_apt apt-cache showsrc --only-source "$1")
    revision=$(awk -v want="$sha256" -v file="$tarball" '
        $1 == "Version:" { version = $2 }
        $1 == want && $3 == file { print version; exit }' <<<"$shown")
    if [ -z "$revision" ]; then
        echo "$suite's $1 is: $(awk '$1 == "Version:" {print $2}' <<<"$shown" | paste -sd ' ')"
        echo "of which none carries $tarball with SHA-256 $sha256 (pinned in sources.txt)."
        awk -v file="$tarball" 'length($1) == 64 && $3 == file {print "SHA-256 MISMATCH: the archive offers that name with " $1}' <<<"$shown"
        echo "If you have the right tarball, put it into $cache/sources/ and run this again."
        return 1
    fi
    echo "$1: $tarball comes with revision $revision"
    ( cd "$apt" && private_apt apt-get -q source --download-only --tar-only --only-source "$1=$revision" )
    verify "$apt/$tarball" "$sha256"
    mv "$apt/$tarball" "$cache/sources/$tarball"
}

verify() {
    local have
    have=$(sha256sum "$1")
    have=${have%% *}
    [ "$have" = "$2" ] && return
    echo "SHA-256 MISMATCH: $1"
    echo "  has    $have"
    echo "  pinned $2 (sources.txt)"
    echo "It is not used. If it is left from an accident, remove it and run this again."
    return 1
}

# ---- recipes: each is called with the sources in $src and must fill $out -------------------------------------------------

hardening='-fstack-protector-strong -D_FORTIFY_SOURCE=2'

# For libev's adapter see include/hiredis/adapters/libev.h.
recipe_hiredis() {
    make -C "$src" -j"$jobs" libhiredis.a libhiredis_ssl.a USE_SSL=1 OPTIMIZATION=-O2 DEBUG_FLAGS=-g1 \
        CFLAGS="$hardening -ffile-prefix-map=$src=hiredis"
    mkdir -p "$out"/{lib,include/hiredis/adapters}
    cp "$src"/libhiredis.a "$src"/libhiredis_ssl.a "$out/lib/"
    cp "$src"/{hiredis,hiredis_ssl,async,read,sds,alloc,sockcompat}.h "$out/include/hiredis/"
    cp "$src"/adapters/libev.h "$out/include/hiredis/adapters/"
    cp "$src/COPYING" "$out/LICENSE"
}

# tinycthread instead of C11 threads: the same over pthreads, which ThreadSanitizer can follow. It has libc's names (and
# the library brings its own cJSON, xxhash, nanopb), so like the shared library the archive shows only rd_kafka_*.
recipe_librdkafka() {
    cd "$src"
    CFLAGS="-g1 $hardening -ffile-prefix-map=$src=librdkafka" ./configure --prefix="$out" --disable-c11threads \
        --disable-curl --disable-syslog --enable-ssl --enable-gssapi --enable-zlib --enable-zstd --enable-lz4-ext
    local feature
    for feature in SSL SASL_CYRUS SASL_SCRAM ZLIB ZSTD LZ4_EXT; do
        grep -q "BUILT_WITH.*\<$feature\>" config.log Makefile.config || { echo "configured without $feature"; return 1; }
    done
    make -C src -j"$jobs" librdkafka.a
    mkdir -p "$out"/{lib,include/librdkafka}
    gcc -r -nostdlib -o librdkafka.o -Wl,--whole-archive src/librdkafka.a
    objcopy --wildcard --keep-global-symbol='rd_kafka_*' librdkafka.o
    ar rcs "$out/lib/librdkafka.a" librdkafka.o
    cp src/rdkafka.h src/rdkafka_mock.h "$out/include/librdkafka/"
    cp LICENSES.txt "$out/LICENSE"
}

# One source tree, built twice under one soname: glibc's loader takes lib/glibc-hwcaps/x86-64-v3/libfaiss.so where the CPU
# has AVX2, FMA and F16C, and lib/libfaiss.so elsewhere. The C API (libfaiss_c.a) goes with either.
recipe_faiss() {
    local cxxflags=-ffile-prefix-map=$src=faiss
    local flags=(-DFAISS_ENABLE_C_API=ON -DFAISS_ENABLE_GPU=OFF -DFAISS_ENABLE_PYTHON=OFF -DBUILD_TESTING=OFF
        -DBUILD_SHARED_LIBS=ON -DCMAKE_BUILD_TYPE=Release -DCMAKE_DISABLE_FIND_PACKAGE_MKL=ON)
    # The variant of OpenBLAS by its own path, so that the system's choice of "the" BLAS decides nothing here.
    if [ -f "$blas_dir/libopenblas.so" ]; then
        flags+=(-DBLAS_LIBRARIES="$blas_dir/libopenblas.so" -DLAPACK_LIBRARIES="$blas_dir/libopenblas.so"
            -DCMAKE_INSTALL_RPATH="$blas_dir" -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON)
    fi
    mkdir -p "$out"/lib "$out"/include/faiss

    cmake -S "$src" -B "$src/generic" "${flags[@]}" -DCMAKE_CXX_FLAGS="$cxxflags"
    cmake --build "$src/generic" -j "$jobs" --target faiss faiss_c
    cp "$src/generic/faiss/libfaiss.so" "$out/lib/"
    find "$src/generic/c_api" -name '*.o' -print0 | sort -z | xargs -0 ar rcs "$out/lib/libfaiss_c.a"
    if [ "$HOSTTYPE" = x86_64 ]; then
        cmake -S "$src" -B "$src/v3" "${flags[@]}" -DCMAKE_CXX_FLAGS="$cxxflags -march=x86-64-v3"
        cmake --build "$src/v3" -j "$jobs" --target faiss
        mkdir -p "$out/lib/glibc-hwcaps/x86-64-v3"
        cp "$src/v3/faiss/libfaiss.so" "$out/lib/glibc-hwcaps/x86-64-v3/"
    fi
    ( cd "$src" && find c_api -name '*.h' ! -path '*/gpu/*' -exec cp --parents {} "$out/include/faiss/" \; )
    cp "$src/LICENSE" "$out/LICENSE"

    gcc -O1 -isystem "$out/include" "$here/faiss_check.c" -o "$src/check" \
        "$out/lib/libfaiss_c.a" -L"$out/lib" -lfaiss -Wl,-rpath,"$out/lib" -lgomp -lstdc++ -lm
    "$src/check"
    if [ "$HOSTTYPE" = x86_64 ]; then # and as on an old CPU
        /lib64/ld-linux-x86-64.so.2 --glibc-hwcaps-mask none "$src/check" generic
    fi
}

# build_in_lock NAME: fetch, unpack, build, and move into place in one rename.
build_in_lock() {
    local name=$1 version recipe suite tarball sha256 prefix src out jobs
    source_row "$name"
    prefix_of "$name"
    rm -rf "$cache/.build-$name".* # what a killed run left; we hold the lock
    work=$(mktemp -d "$cache/.build-$name.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    fetch "$name"
    src=$work/src out=$work/out jobs=${JOBS:-$(default_jobs)}
    mkdir "$src" "$out"
    tar -C "$src" --strip-components=1 --no-same-owner -xf "$cache/sources/$tarball"
    "recipe_$name"
    {
        echo "$name $version ($recipe), from $tarball"
        echo "sha256 $sha256"
        echo "by $(gcc --version | head -n 1) on $HOSTTYPE"
    } >"$out/BUILT"
    rm -rf "$prefix"
    mv -T "$out" "$prefix"
}

default_jobs() {
    local cpus gigabytes
    cpus=$(nproc)
    gigabytes=$(awk '/^MemAvailable:/ {print int($2 / 1048576) + 1}' /proc/meminfo)
    echo $((cpus < gigabytes ? cpus : gigabytes))
}

build() {
    local name prefix version recipe suite tarball sha256 lock
    for name in hiredis librdkafka faiss; do
        source_row "$name"
        if [ "$name" = faiss ] && [ -n "$faiss_given" ]; then
            faiss_layout "$faiss_given" ||
                die "FAISS_PREFIX=$faiss_given has no include/faiss/c_api, or no libfaiss_c with libfaiss in lib or lib64"
            say faiss "given: $faiss_libdir"
        elif has_system "$name"; then
            say "$name" "$(pkg-config --modversion "${name/librdkafka/rdkafka}") of the system"
        elif is_built "$name"; then
            say "$name" "$version present"
        else
            mkdir -p "$cache"
            exec {lock}>"$cache/.lock-$name"
            flock --nonblock "$lock" || { say "$name" "another run is building it, waiting"; flock "$lock"; }
            if is_built "$name"; then # by the run we waited for
                say "$name" "$version present"
            else
                step "$name" "building $version" build_in_lock "$name"
            fi
            exec {lock}>&-
        fi
    done
}

# ---- the commands --------------------------------------------------------------------------------------------------------

install_all() {
    local report
    if is_debian_12; then
        install_packages
        build
        return
    fi
    if report=$(check); then
        printf '%s\n' "$report"
        return
    fi
    cat >&2 <<END
deps: this is not Debian 12, so nothing is installed. millrace needs:

$(packages | awk '{print $1}' | paste -sd ' ' | fold -s -w 100 | sed 's/^/  /')

(Debian's names; any OpenBLAS will do), and
  hiredis 1.2 or newer, with hiredis_ssl      (found by pkg-config)
  librdkafka 2.8 or newer                     (found by pkg-config)
  FAISS 1.7.3 with its C API                  (found by FAISS_PREFIX=/its/prefix: lib/libfaiss_c, include/faiss/c_api)

Missing here:
$(printf '%s\n' "$report" | sed -n 's/^deps: /  /; /missing/p')

Ubuntu 24.04 has the packages by the same names, and hiredis 1.2; librdkafka and FAISS can be built by
  deploy/deps/deps.sh build
from the tarballs that deploy/deps/sources.txt names, once they lie in
  $cache/sources
or use your own: PKG_CONFIG_PATH for librdkafka, FAISS_PREFIX=/its/prefix for FAISS. See deploy/deps/README.md.
END
    exit 2
}

selftest() {
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    print_env >"$work/deps.mk"
    cat >"$work/Makefile" <<'END'
include deps.mk
CFLAGS = -std=c17 -Wall -Wextra -Werror $(HIREDIS_CFLAGS) $(RDKAFKA_CFLAGS) $(FAISS_CFLAGS)
all: selftest faiss_check
	./selftest && ./faiss_check $(FAISS_WANT)
%: %.c
	$(CC) $(CFLAGS) $< -o $@ $(HIREDIS_LDLIBS) $(RDKAFKA_LDLIBS) $(FAISS_LDLIBS) -lev
END
    cp "$here/selftest.c" "$here/faiss_check.c" "$work/"
    make -s -C "$work" FAISS_WANT="${faiss_given:+any}"
}

case ${1:-} in
install) install_all ;;
build) build ;;
check) check ;;
env) print_env ;;
selftest) selftest ;;
*) sed -n '2,16s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac

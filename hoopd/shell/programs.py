"""Programs as a shell finds them: which are shells, which run others, with which options and variables; pure.

What is not named here is taken for a program that does what its name says. Specification: the manuals of the programs.
"""

from __future__ import annotations

import re
from posixpath import basename, dirname

from attrs import frozen

#: directories whose programs are meant by their bare name; anything else is somebody's own
STANDARD = frozenset({"/bin", "/usr/bin", "/sbin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"})

SHELLS = frozenset(
    "sh bash dash zsh ksh ash fish csh tcsh rbash rzsh rksh mksh lksh oksh pdksh posh yash sash pwsh busybox".split()
)

#: what distributions put around names: versions, and how it was built
#: possessive, so that no name makes it try again and again
_VERSION = re.compile(r"(?:[-.]?[0-9][0-9.]*+|[.-](?:static|basic|tiny|nox|gtk3|small|dbg))++\Z")
#: no program that is known has a longer name
_NAME_MAX = 64
_BUILT_FOR = re.compile(r"^[a-z0-9_]+-linux-(?:gnu|musl)[a-z0-9]*-")

#: of the shell itself: run text, or change what words and names mean, or evaluate what can run commands
BUILTINS = frozenset(
    """
    eval source . exec trap alias unalias enable hash fc bind complete compgen compopt mapfile readarray read let set shopt
    getopts coproc function typeset unset ulimit wait
    - emulate noglob nocorrect repeat zpty sched zmodload autoload setopt unsetopt zle vared zcompile functions bindkey disable
    ztcp private float integer
    """.split()
)

#: words of the grammar (POSIX.1-2017, XCU section 2.4; bash's): where one is left in the place of a name it was misread
RESERVED = frozenset("! { } [[ ]] case do done elif else esac fi for function if in select then until while".split())

#: run a program that is given to them, in a language or through options that are not read here
INTERPRETERS = frozenset(
    """
    python python2 python3 perl ruby node nodejs php lua luajit tclsh wish expect awk gawk mawk nawk sed ed ex vi vim nvim view
    nano emacs less more man gdb strace ltrace script screen tmux at batch crontab parallel make cmake ssh ansible
    ansible-playbook socat nc ncat telnet systemd-run su runuser chroot unshare nsenter setpriv setsid start-stop-daemon docker
    podman kubectl crictl ctr lxc virsh psql mysql sqlite3 watch entr flock xargs busybox pip pip3 npm npx gem cargo
    go gcc cc ld java bundle rake irb ipython jupyter
    g++ c++ clang pypy deno bun guile dc bc m4 gnuplot rvim rview vimdiff vi.tiny editor pager original-awk sensible-editor
    sensible-pager chrt taskset prlimit choom numactl setarch linux32 linux64 i386 x86_64 pkexec runcon capsh sg newgrp
    run-parts ssh-agent sshpass dbus-run-session systemd-inhibit systemd-nspawn machinectl fakeroot faketime unbuffer bwrap
    firejail perf valgrind catchsegv logrotate runsv chpst softlimit setuidgid envdir daemon torsocks proxychains4 hyperfine
    pdsh dsh mosh sftp ftp
    """.split()
)

#: the linker's own names: run the program that they are given
LOADERS = re.compile(r"ld[-.](linux|musl|so)")

#: ordinary programs that run others by one of these options
BY_OPTION: dict[str, re.Pattern[str]] = {
    "find": re.compile(r"-(exec|execdir|ok|okdir)"),
    "tar": re.compile(
        # GNU takes the beginning of a long option for it, and tar letters without a dash
        r"--(to-c|checkpoint-|us|rsh|inf|new-v).*|-?[A-Za-z]*[IF].*"
    ),
    "rsync": re.compile(r"-[A-Za-z]*e.*|--rsh.*|--rsync-path.*|--daemon|--config.*"),
    "git": re.compile(
        r"-c|--exec-path.*|--up.*|--rec.*|--conf.*|-x|--ex.*|-O.*|--op.*|ext::.*|run|foreach|filter-branch|difftool|mergetool"
    ),
    "scp": re.compile(r"-[A-Za-z]*[SoJFD].*"),
    "sort": re.compile(r"--com.*"),
    "zip": re.compile(r"-T+|-TT.*|--unzip-command.*"),
    "printf": re.compile(r"-v.*"),
    "sudo": re.compile(r"-[AbBEHknPSN]*[ise].*|--(login|shell|edit).*"),
    "doas": re.compile(r"-[nL]*s.*"),
    "jobs": re.compile(r"-[a-z]*x.*"),
    "test": re.compile(r"-[vR]"),
    "[": re.compile(r"-[vR]"),
}

#: wrappers that lend other rights: they are commands of their own
PRIVILEGED = frozenset({"sudo", "doas"})


@frozen
class Wrapper:
    """Runs the rest of its words as a command; options that are not named here are not understood.

    @ivar flags: short options without a word of their own.
    @ivar takes: those with one.
    @ivar long: long options, those with C{=} up to that.
    @ivar before: how many words come before the command.
    """

    flags: str = ""
    takes: str = ""
    long: frozenset[str] = frozenset()
    before: int = 0


# not among them is what writes files (time -o), changes directories (env -C) or makes several words of one (env -S)
WRAPPERS: dict[str, Wrapper] = {
    "sudo": Wrapper(
        "AbBEHknPSNise", "acugphCUrtTDR", frozenset({"--user=", "--group=", "--non-interactive", "--preserve-env"})
    ),
    "doas": Wrapper("nLs", "uCa"),
    "nohup": Wrapper(),
    "nice": Wrapper("0123456789", "n", frozenset({"--adjustment="})),
    "ionice": Wrapper("t", "cn", frozenset({"--class=", "--classdata=", "--ignore"})),
    "time": Wrapper("pv"),
    "timeout": Wrapper(
        "fpv", "ks", frozenset({"--foreground", "--preserve-status", "--verbose", "--signal=", "--kill-after="}), 1
    ),
    "stdbuf": Wrapper("", "ioe", frozenset({"--input=", "--output=", "--error="})),
    "command": Wrapper("pvV"),
    "builtin": Wrapper(),
    "env": Wrapper("i0v", "u", frozenset({"--ignore-environment", "--unset=", "--debug"})),
}

#: change what a name or a word means, for all that follows
VARIABLES = re.compile(
    r"PATH|IFS|ENV|BASH_.*|SHELLOPTS|PS[0-4]|PROMPT_COMMAND|LD_.*|GCONV_PATH|GIT_.*|EDITOR|VISUAL|PAGER|PYTHON.*|PERL.*|RUBY.*|"
    r"NODE_.*|CDPATH|HOME|SHELL|BROWSER|LESS|LESSKEY.*|SYSTEMD_.*|APT_CONFIG|OPENSSL_.*|GLIBC_.*|RSYNC_.*|DPKG_.*|"
    r"FPATH|ZDOTDIR|.*COMMAND.*|.*_RSH|LESSOPEN|LESSCLOSE|MANPAGER|SUDO_ASKPASS|SSH_ASKPASS|TAR_OPTIONS"
)

#: what programs may be given beside: more than these may be the name of a pager, a plugin or a startup file, and nobody knows all
HARMLESS = re.compile(r"LANG|LANGUAGE|LC_[A-Z]+|TERM|COLORTERM|NO_COLOR|TZ|COLUMNS|LINES|DEBIAN_FRONTEND")


def unversioned(name: str) -> str:
    """What a program is, whichever of its versions: python3.11 is python."""
    if len(name) > _NAME_MAX:
        return name
    name = _BUILT_FOR.sub("", name)
    return name if name in INTERPRETERS else _VERSION.sub("", name) or name


def bare(name: str) -> str:
    """The name alone where it is in a standard directory."""
    return basename(name) if dirname(name) in STANDARD else name

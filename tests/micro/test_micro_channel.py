"""The channel to a real guest: commands, streams, files, limits, and that nothing is mixed up."""

from __future__ import annotations

import hashlib
import random
import time

import pytest

from micro_guest import FILLER, Lane, Machine, packed

pytestmark = [pytest.mark.vm, pytest.mark.timeout(600)]

ODD = "a b'c\"d$HOME;`x`\\n\ttab\nnewline é € *"


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def test_streams_and_status_come_apart(machine: Machine) -> None:
    answer = machine.lane().run("echo out; echo err >&2; exit 3")
    assert (answer.last, answer.status, answer.out, answer.err) == ("exit", "3", b"out\n", b"err\n")
    assert (answer.fields["out"], answer.fields["err"]) == ("4", "4")


def test_arguments_arrive_unchanged(machine: Machine) -> None:
    assert machine.lane().run(["printf", "%s|", ODD, "", "-n"]).out.decode() == f"{ODD}||-n|"


def test_a_shell_text_arrives_unchanged(machine: Machine) -> None:
    assert machine.lane().run("printf %s \"$X\" 'é;'", env=f"X={ODD}").out.decode() == f"{ODD}é;"


def test_where_a_command_runs(machine: Machine) -> None:
    lane = machine.lane()
    assert lane.run("pwd").out == b"/root\n"
    assert lane.run(["pwd"], cwd="/proc/sys").out == b"/proc/sys\n"
    assert lane.run("echo $A$B", env=["A=1", "B=2"]).out == b"12\n"


def test_a_program_that_is_not_there_was_not_started(machine: Machine) -> None:
    answer = machine.lane().run(["no-such-program"])
    assert (answer.last, answer.fields["code"], answer.fields["errno"]) == (
        "problem",
        "not-started",
        "2",
    )
    assert machine.lane().run("no-such-program").status == "127"


def test_a_killed_command_tells_its_signal(machine: Machine) -> None:
    answer = machine.lane().run("kill -9 $$")
    assert (answer.fields["signal"], answer.status, answer.fields["reason"]) == ("9", "", "exited")


def test_output_comes_while_the_command_runs(machine: Machine) -> None:
    lane = machine.lane()
    token = lane.start("run", shell="echo first; read line; echo got $line", stdin=1)
    assert lane.next(token)[0] == "started"
    assert lane.next(token) == ("out", b"first\n")
    lane.send("in", token, b"more\n")
    assert lane.answer(token).out == b"got more\n"


def test_ten_mebibytes_in_and_out(machine: Machine) -> None:
    lane, data = machine.lane(), noise(10 << 20)
    token = lane.start("run", shell="tee /tmp/in | sha256sum >&2; cat /tmp/in", stdin=1)
    lane.feed(token, data)
    lane.send("eof", token)
    answer = lane.answer(token)
    assert answer.out == data
    assert answer.err.split()[0].decode() == hashlib.sha256(data).hexdigest()
    assert answer.fields["input"] == answer.fields["out"] == str(len(data))


def test_a_command_that_does_not_want_its_input_ends_all_the_same(machine: Machine) -> None:
    lane = machine.lane()
    token = lane.start("run", shell="exec <&-; echo done", stdin=1)
    lane.feed(token, noise(1 << 20))
    assert lane.answer(token).out == b"done\n"


def test_a_background_program_neither_holds_nor_enters_an_answer(machine: Machine) -> None:
    lane = machine.lane()
    answer = lane.run("(sleep 0.3; echo late; echo alive >/tmp/late) & echo now")
    assert answer.out == b"now\n"
    later = lane.run("until [ -s /tmp/late ]; do sleep 0.1; done; cat /tmp/late; echo next")
    assert later.out == b"alive\nnext\n"


def test_a_time_out_ends_the_whole_group(machine: Machine) -> None:
    lane = machine.lane()
    answer = lane.run("sleep 1234 & sleep 1234", timeout=200)
    # a shell may miss the first signal in the middle of starting a program: KILL comes after it
    assert answer.fields["reason"] == "timeout"
    assert answer.fields["signal"] in ("15", "9")
    assert lane.run("ps | grep -c '[s]leep 1234'").out == b"0\n"


def test_after_its_time_a_program_may_still_end_well(machine: Machine) -> None:
    answer = machine.lane().run(["sleep", "1234"], timeout=200, grace=60_000)
    assert (answer.fields["reason"], answer.fields["signal"]) == ("timeout", "15")


def test_a_command_that_ignores_the_signal_is_killed(machine: Machine) -> None:
    lane = machine.lane()
    token = lane.start("run", shell="trap '' TERM; echo on; sleep 99; sleep 99", grace=300)
    while lane.next(token) != ("out", b"on\n"):
        pass
    assert machine.lane(1).call("end", request=token, grace=300).fields == {"found": "1"}
    answer = lane.answer(token)
    assert (answer.fields["reason"], answer.fields["signal"]) == ("ended", "9")


def test_a_command_is_ended_over_another_port(machine: Machine) -> None:
    lane = machine.lane()
    token = lane.start("run", shell="sleep 99")
    assert lane.next(token)[0] == "started"
    assert machine.lane(1).call("end", request=token).fields == {"found": "1"}
    assert lane.answer(token).fields["reason"] == "ended"
    assert machine.lane(1).call("end", request=token).fields == {"found": "0"}


def test_a_signal_does_not_end_a_command(machine: Machine) -> None:
    lane = machine.lane()
    token = lane.start(
        "run", shell="trap 'echo caught; exit 4' USR1; echo set; while :; do sleep 0.1; done"
    )
    while lane.next(token) != ("out", b"set\n"):
        pass
    machine.lane(1).call("signal", request=token, signal=10)
    answer = lane.answer(token)
    assert (answer.out, answer.status, answer.fields["reason"]) == (b"caught\n", "4", "exited")


def test_commands_run_side_by_side_and_keep_their_output(machine: Machine) -> None:
    lane = machine.lane()
    tokens = [
        lane.start("run", shell=f"sleep 0.{9 - n}; echo {n}; echo e{n} >&2") for n in range(9)
    ]
    for number, token in reversed(list(enumerate(tokens))):
        answer = lane.answer(token)
        assert (answer.out, answer.err) == (f"{number}\n".encode(), f"e{number}\n".encode())


def test_a_token_is_taken_once(machine: Machine) -> None:
    lane = machine.lane()
    token = lane.start("run", shell="echo x >>/tmp/once")
    assert lane.answer(token).status == "0"
    lane.send("run", token, packed(shell="echo x >>/tmp/once"))
    assert lane.answer(token).fields["code"] == "duplicate"
    assert lane.run("cat /tmp/once").out == b"x\n"


def test_a_request_for_another_boot_is_not_carried_out(machine: Machine) -> None:
    lane = machine.lane()
    lane.send("run", "0123456789abcdef-1-1", packed(shell="touch /tmp/stale"))
    assert lane.answer("0123456789abcdef-1-1").fields["code"] == "stale"
    assert lane.run("ls /tmp/stale").status == "1"


def test_what_cannot_be_understood_is_told(machine: Machine) -> None:
    lane = machine.lane()
    assert lane.call("dance").fields["code"] == "unknown-verb"
    assert lane.call("run").fields["code"] == "bad-request"


def test_flooding_output_waits_for_credit(machine: Machine) -> None:
    lane = machine.lane()
    token = lane.start("run", shell="cat /dev/zero", window=100_000)
    got = 0
    while got < 100_000:
        verb, payload = lane.next(token)
        got += len(payload) if verb == "out" else 0
    assert got == 100_000
    assert lane.run("echo not blocked").out == b"not blocked\n"
    lane.send("credit", token, b"50")
    assert lane.next(token) == ("out", bytes(50))
    machine.lane(1).call("end", request=token)
    # what was written and not allowed out yet is told by the exit: nothing is lost unseen
    lane.send("credit", token, b"10000000")
    answer = lane.answer(token)
    assert int(answer.fields["out"]) == 100_050 + len(answer.out)


def test_a_host_that_does_not_read_blocks_nobody_else(machine: Machine) -> None:
    lane, control = machine.lane(2), machine.lane(1)
    token = lane.start("run", shell="cat /dev/zero")
    assert machine.lane().run("sleep 1; echo fine").out == b"fine\n"
    assert control.call("end", request=token).fields == {"found": "1"}
    assert lane.answer(token).fields["reason"] == "ended"


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 10 << 20])
def test_a_file_goes_up_and_comes_back_the_same(machine: Machine, size: int) -> None:
    lane, data = machine.lane(2), noise(size)
    sha256 = hashlib.sha256(data).hexdigest()
    up = lane.put("/tmp/up", data, mode="751")
    assert (up.last, up.fields) == ("done", {"size": str(size), "sha256": sha256})
    assert lane.run(["stat", "-c", "%a %s", "/tmp/up"]).out.decode() == f"751 {size}\n"
    down = lane.call("get", path="/tmp/up")
    assert down.out == data
    assert down.fields == {"size": str(size), "sha256": sha256}


def test_a_file_with_the_wrong_sum_changes_nothing(machine: Machine) -> None:
    lane = machine.lane(2)
    assert lane.put("/tmp/kept", b"old").last == "done"
    token = lane.start("put", path="/tmp/kept")
    lane.send("in", token, b"new")
    lane.send("eof", token, packed(size=3, sha256=hashlib.sha256(b"other").hexdigest()))
    assert lane.answer(token).fields["code"] == "corrupt"
    assert lane.run("cat /tmp/kept; ls /tmp | grep part").out == b"old"


def test_a_full_disk_is_told_and_leaves_nothing(machine: Machine) -> None:
    lane = machine.lane(2)
    lane.run("mkdir /tmp/small; mount -t tmpfs -o size=1m tmpfs /tmp/small")
    answer = lane.put("/tmp/small/f", noise(2 << 20))
    assert (answer.fields["code"], answer.fields["errno"]) == ("file", "28")
    assert lane.run("ls /tmp/small; umount /tmp/small").out == b""


@pytest.mark.parametrize("told", [True, False], ids=["told before", "seen on the way"])
def test_a_file_larger_than_memory_is_refused_and_hurts_nobody(
    machine: Machine, told: bool
) -> None:
    lane, before = machine.lane(2), machine.lane(2).hello
    large = bytes(100 << 20)
    answer = lane.put("/tmp/large", large, size=len(large) if told else None)
    assert (answer.fields["code"], answer.fields["errno"]) == ("file", "28")
    assert "do not fit: there is room for " in answer.fields["text"]
    assert lane.greet()["boot"] == before["boot"]
    assert lane.greet()["agent"] == before["agent"]
    assert lane.run("ls /tmp | grep large").out == b""


def test_in_a_full_memory_commands_and_small_files_still_work(machine: Machine) -> None:
    lane = machine.lane()
    assert lane.run("cat /dev/zero > /tmp/full").status == "1"
    try:
        assert lane.run("tar -cf - /usr/lib/labkit | sha256sum").status == "0"
        assert lane.run("tcpdump --version; ip -V; ps").status == "0"
        assert lane.put("/tmp/tiny", b"tiny").fields["errno"] == "28"
    finally:
        lane.run("rm /tmp/full")
    assert lane.put("/tmp/tiny", b"tiny").last == "done"


def test_a_program_that_eats_all_memory_is_ended_and_nobody_else(machine: Machine) -> None:
    lane = machine.lane()
    eater = "local kept = {}; while true do kept[#kept + 1] = ('x'):rep(1000000) .. #kept end"
    assert lane.run(["luajit", "-e", eater]).fields["signal"] == "9"
    assert lane.greet()["agent"] == lane.agent
    assert lane.run("echo well").out == b"well\n"


@pytest.mark.parametrize(("path", "errno"), [("/no/such", "2"), ("/etc", "21")])
def test_a_file_that_cannot_be_read_is_told(machine: Machine, path: str, errno: str) -> None:
    answer = machine.lane(2).call("get", path=path)
    assert (answer.fields["code"], answer.fields["errno"]) == ("file", errno)


def test_a_file_without_a_size_is_read_whole(machine: Machine) -> None:
    assert machine.lane(2).call("get", path="/proc/cmdline").out.startswith(b"console=ttyS0")


def test_a_new_host_is_not_given_the_old_ones_answers(machine: Machine) -> None:
    old = machine.lane()
    token = old.start("run", shell="echo mine; cat /dev/zero")
    assert old.next(token)[0] == "started"
    # half a frame, and gone
    old.socket.sendall(f"LK run {old.token()} 500\nshell=touch /tmp/half".encode())
    old.close()
    new = machine._lanes[0] = Lane(old.path)
    assert new.hello["agent"] == old.agent
    assert new.run("echo hers; ls /tmp/half").out == b"hers\n"
    # a shell may miss the first signal in the middle of starting a program: KILL comes after it
    left = "while ps | grep -q '[c]at /dev/zero'; do sleep 0.1; done; echo none"
    assert new.run(left, timeout=10_000).out == b"none\n"


def test_a_cut_off_frame_is_healed_by_hello(machine: Machine) -> None:
    lane = machine.lane()
    lane.socket.sendall(b"LK in x-1 70\nabc")
    assert lane.greet()["agent"] == lane.agent
    lane.socket.sendall(b"rubbish\nrubbish" + FILLER)
    assert lane.greet()["agent"] == lane.agent
    assert lane.run("echo well").out == b"well\n"


def test_the_clock_is_set_from_the_host(machine: Machine) -> None:
    lane = machine.lane()
    lane.run("date -s '2001-02-03 04:05:06'")
    lane.socket.sendall(FILLER + b"LK hello clock 0\n\n")
    lane.greet()
    now = time.time()
    stamp = packed(time=f"{now:.3f}")
    lane.socket.sendall(FILLER + f"LK hello set {len(stamp)}\n".encode() + stamp + b"\n")
    lane.greet()
    assert abs(int(lane.run("date +%s").out) - now) < 60


def test_the_programs_of_a_lab_are_there(machine: Machine) -> None:
    lane = machine.lane()
    for command in (
        *("ip -V", "tc -V", "bridge -V", "ping -V", "tcpdump --version", "nuttcp -V"),
        *("traceroute --version", "nc --help", "dash -c true", "ash -c true", "modprobe sch_netem"),
    ):
        answer = lane.run(command)
        assert answer.status == "0", (command, answer)
    assert b"iputils" in lane.run("ping -V").out
    assert b"iproute2" in lane.run("ip -V").out
    ping = lane.run("ping -c 1 127.0.0.1 && traceroute -n 127.0.0.1")
    assert ping.status == "0", ping


@pytest.mark.parametrize("way", ["-T2", "-u -R5m -T2"], ids=["TCP", "UDP"])
def test_traffic_is_made_and_measured(machine: Machine, way: str) -> None:
    lane = machine.lane()
    lane.run("nuttcp -S")
    answer = lane.run(f"until nuttcp {way} -fparse 127.0.0.1; do sleep 0.2; done")
    assert answer.status == "0", answer
    measured = dict(word.split("=") for word in answer.out.decode().split() if "=" in word)
    assert float(measured["megabytes"]) > 0
    lane.run("killall nuttcp")


def test_packets_are_captured_and_read(machine: Machine) -> None:
    lane = machine.lane()
    token = lane.start("run", shell="tcpdump -n -i lo -c 2 -w /tmp/ping.pcap icmp")
    said = b""
    while b"listening on lo" not in said:
        said += lane.next(token)[1]
    assert lane.run("ping -c 1 -n 127.0.0.1").status == "0"
    assert lane.answer(token).status == "0"
    shown = lane.run("tcpdump -n -r /tmp/ping.pcap").out
    assert b"ICMP echo request" in shown
    assert b"ICMP echo reply" in shown


def test_pages_are_served_and_fetched(machine: Machine) -> None:
    lane = machine.lane()
    serve = (
        "mkdir -p /tmp/www; echo page > /tmp/www/index.html; httpd -p 127.0.0.1:8080 -h /tmp/www"
    )
    assert lane.run(serve).status == "0"
    assert lane.run("wget -qO- http://127.0.0.1:8080/").out == b"page\n"
    assert lane.run("wget -qO- http://127.0.0.1:8080/none").status != "0"
    lane.run("killall httpd")

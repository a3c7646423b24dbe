"""What a job is made of and brings back, and how its output is followed, without a cluster."""

import json

import pytest

from airdraft.errors import SettingsError, UnavailableError
from orchestration.jobs import Jobs, bundle, pack, result_name, unpack
from orchestration.scenario import read_scenario, read_values
from orchestration.sweep.grid import expand
from tests.made_up_recording import values, written


def test_a_bundle_holds_the_sweep_and_its_files_and_makes_the_same_cells(tmp_path):
    recording = written(tmp_path, count=2, tokens=8)
    (tmp_path / "a.csv").write_text("time_ms,rtt_ms,sinr_db,rsrp_dbm\n0,20,10,-80\n")
    plain = values(recording, grid={"link": [{"trace": "a.csv"}, {"preset": "5g"}]})
    path = tmp_path / "trial.json"
    path.write_text(json.dumps(plain | {"name": "trial"}))
    folder = tmp_path / "bundle"
    folder.mkdir()
    assert bundle(path, folder) == "trial"
    recording.unlink()
    (tmp_path / "a.csv").rename(tmp_path / "gone.csv")
    scenario = read_scenario(folder / "sweep.json")
    assert scenario.workload.recording[0].is_relative_to(folder)
    there = expand(read_values(folder / "sweep.json"), "there", lambda scenario: 16)
    written(tmp_path, count=2, tokens=8)
    (tmp_path / "gone.csv").rename(tmp_path / "a.csv")
    here = expand(read_values(path), "here", lambda scenario: 16)
    assert [cell.key for cell in there] == [cell.key for cell in here]


def test_a_faulty_sweep_is_not_sent(tmp_path):
    path = tmp_path / "trial.json"
    path.write_text(json.dumps(values(tmp_path / "absent.z")))
    with pytest.raises(SettingsError, match=r"absent\.z"):
        bundle(path, tmp_path)


def test_a_run_directory_travels_whole_and_joins_what_is_there(tmp_path):
    run = tmp_path / "there" / "trial"
    (run / "cells").mkdir(parents=True)
    (run / "cells" / "a.msgpack").write_bytes(b"a")
    (run / "run.json").write_text("new")
    (tmp_path / "here" / "trial" / "cells").mkdir(parents=True)
    (tmp_path / "here" / "trial" / "cells" / "b.msgpack").write_bytes(b"b")
    place = unpack(pack(run), tmp_path / "here")
    assert place == tmp_path / "here" / "trial" and (place / "run.json").read_text() == "new"
    assert sorted(path.name for path in (place / "cells").iterdir()) == ["a.msgpack", "b.msgpack"]


def test_damaged_results_are_refused(tmp_path):
    with pytest.raises(UnavailableError, match="damaged"):
        unpack(b"no zip", tmp_path)


class Status:
    def __init__(self, value):
        self.value = value

    def is_terminal(self):
        return self.value in ("SUCCEEDED", "FAILED", "STOPPED")


class Details:
    def __init__(self, value):
        self.status, self.message, self.driver_exit_code, self.driver_node_id = Status(value), "done", 0, "node"


class Client:
    """Ray's job client, as far as it is used. `streams`: what each connection to the output brings before it breaks; the last ends well."""

    def __init__(self, streams=(), states=("SUCCEEDED",)):
        self.streams, self.states = list(streams), list(states)
        self.stopped = []

    async def tail_job_logs(self, job):
        parts = self.streams.pop(0)
        for part in parts:
            yield part
        if self.streams:
            raise RuntimeError("the connection broke")

    def get_job_info(self, job):
        return Details(self.states.pop(0) if len(self.states) > 1 else self.states[0])

    def stop_job(self, job):
        self.stopped.append(job)


@pytest.fixture
def jobs(monkeypatch):
    monkeypatch.setattr("orchestration.jobs.POLL_S", 0.0)

    def of(client):
        made = Jobs.__new__(Jobs)
        made._address, made._client = "http://nowhere", client
        return made

    return of


def test_output_that_breaks_off_is_taken_up_where_it_broke(jobs):
    shown = []
    streams = [["one ", "two "], ["one tw", "o three "], ["one two three four"]]
    client = Client(streams, ["RUNNING", "RUNNING", "SUCCEEDED"])
    end = jobs(client).follow("job", shown.append)
    assert "".join(shown) == "one two three four"
    assert (end.status, end.exit_code) == ("SUCCEEDED", 0)


def test_a_cancelled_job_is_waited_for_until_it_has_stopped(jobs):
    client = Client(states=["RUNNING", "RUNNING", "STOPPED"])
    assert jobs(client).cancel("job").status == "STOPPED"
    assert client.stopped == ["job"]


def test_a_job_that_does_not_stop_is_reported(jobs, monkeypatch):
    from airdraft.errors import DeadlineError

    monkeypatch.setattr("orchestration.jobs.STOP_DEADLINE_S", 0.0)
    with pytest.raises(DeadlineError, match="job had not stopped"):
        jobs(Client(states=["RUNNING"])).cancel("job")


def test_what_ray_refuses_is_said_on_one_line(jobs):
    class Refusing(Client):
        def get_job_info(self, job):
            raise RuntimeError("Request failed with status code 404: Job x does not exist.\nmore")

    with pytest.raises(UnavailableError) as caught:
        jobs(Refusing()).end("x")
    assert caught.value.message.endswith("404: Job x does not exist.") and "\n" not in caught.value.message


def test_results_are_asked_of_the_node_that_the_job_ran_on(jobs, tmp_path):
    (tmp_path / "trial").mkdir()
    (tmp_path / "trial" / "run.json").write_text("{}")
    packed = pack(tmp_path / "trial")
    asked = []

    class Response:
        status_code, content, text = 200, packed, ""

    client = Client()
    client._do_request = lambda method, query: asked.append(query) or Response()
    assert (jobs(client).fetch("job", tmp_path / "back") / "run.json").read_text() == "{}"
    assert "node_id=node" in asked[0] and result_name("job") in asked[0]
    Response.status_code, Response.text = 500, "not found"
    with pytest.raises(UnavailableError, match="no results"):
        jobs(client).fetch("job", tmp_path / "back")

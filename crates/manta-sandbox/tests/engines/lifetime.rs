//! Ends: a kill takes the whole tree, and nothing outlives its agent.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use manta_sandbox::{Containers, ExitHow};

use crate::bench::{Bench, ENGINES, settings, with, with_each};

/// Makes processes that leave their parent and their session, then says that it has.
const DAEMONS: &str = "import os, signal, time\n\
    for _ in range(3):\n\
    \x20   child = os.fork()\n\
    \x20   if child == 0:\n\
    \x20       os.setsid()\n\
    \x20       if os.fork() == 0:\n\
    \x20           signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
    \x20           while True: time.sleep(60)\n\
    \x20       os._exit(0)\n\
    \x20   os.waitpid(child, 0)\n\
    print('ready', flush=True)\n\
    signal.pause()";

/// Waits for something, for a while.
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "not within half a minute: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Processes of this machine whose command line holds a word.
fn processes_with(word: &str) -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(word)).count()
}

/// What an engine answers to a question.
fn ask(bench: &Bench, path: &str) -> serde_json::Value {
    use std::io::{Read as _, Write as _};
    let socket = bench.daemon.as_ref().unwrap().socket();
    let mut socket = std::os::unix::net::UnixStream::connect(socket).unwrap();
    // Of this version no answer comes in chunks.
    write!(socket, "GET {path} HTTP/1.0\r\nHost: engine\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

/// Containers that an engine has, running or not. One that is removed while it is listed makes the answer an error.
fn containers(bench: &Bench) -> usize {
    let mut count = None;
    wait_until("the engine lists its containers", || {
        count = ask(bench, "/containers/json?all=true").as_array().map(Vec::len);
        count.is_some()
    });
    count.unwrap()
}

#[test]
fn a_kill_takes_the_whole_tree() {
    with_each(|bench| {
        let word = format!("tree-of-{}-{}", bench.name(), std::process::id());
        let mut spec = bench.spec(DAEMONS);
        spec.argv.push(word.clone());
        let id = spec.id.clone();
        let started = bench.start(spec);
        assert_eq!(started.line(), "ready");
        // Those of gVisor's kernel are none of the host's.
        let seen = if bench.name() == "gvisor" { 0 } else { 4 };
        assert_eq!(processes_with(&word), seen, "{}", bench.name());
        bench.engine.kill(&id);
        let outcome = bench.finish(started);
        assert_eq!(outcome.exit.how, ExitHow::Signaled(libc::SIGKILL), "{}", bench.name());
        wait_until("nothing of the tree is left", || processes_with(&word) == 0);
        assert_eq!(bench.daemon.as_ref().map_or(0, |_| containers(bench)), 0, "{}", bench.name());
        bench.engine.kill(&id);
    });
}

#[test]
fn what_a_program_leaves_ends_with_it() {
    with_each(|bench| {
        let word = format!("left-of-{}-{}", bench.name(), std::process::id());
        let mut spec = bench.spec(&DAEMONS.replace("signal.pause()", "pass"));
        spec.argv.push(word.clone());
        assert_eq!(bench.run(spec).exit.how, ExitHow::Exited(0), "{}", bench.name());
        wait_until("what it left is gone", || processes_with(&word) == 0);
    });
}

#[test]
fn two_run_at_once_under_their_own_uids_and_a_name_is_taken_once() {
    with_each(|bench| {
        let wait = "import os\nprint(sum(name.isdigit() for name in os.listdir('/proc')), flush=True)\nos.read(3, 1)";
        let specs = [bench.spec(wait), bench.spec(wait)];
        let again = specs[0].clone();
        let started = specs.map(|spec| bench.start(spec));
        let seen = started.each_ref().map(super::bench::Started::line);
        // Itself, and in containers the first process.
        assert!(seen.iter().all(|count| count == "1" || count == "2"), "{}: {seen:?} processes", bench.name());
        let (light, _ours) = std::os::unix::net::UnixStream::pair().unwrap();
        let null = || fs::File::options().write(true).open("/dev/null").unwrap().into();
        let refused = bench.runtime.block_on(bench.engine.start(again, light.into(), null(), null()));
        assert!(refused.unwrap_err().to_string().contains("is running already"), "{}", bench.name());
        for started in started {
            drop(started.light.try_clone().unwrap().shutdown(std::net::Shutdown::Both));
            assert_eq!(bench.finish(started).exit.how, ExitHow::Exited(0));
        }
    });
}

#[test]
fn an_engine_that_is_closed_leaves_nothing() {
    for engine in ENGINES {
        with(engine, |bench| {
            let started = bench.start(bench.spec("import signal; signal.pause()"));
            assert_eq!(containers(bench), 1);
            bench.runtime.block_on(bench.engine.close());
            assert_eq!(containers(bench), 0, "{}", bench.name());
            assert_eq!(bench.finish(started).exit.how, ExitHow::Signaled(libc::SIGKILL));
        });
    }
}

#[test]
fn a_container_that_is_removed_from_outside_is_lost() {
    for engine in ENGINES {
        with(engine, |bench| {
            let started = bench.start(bench.spec("import signal; signal.pause()"));
            let pid = entry_of_the_container(bench).expect("the engine tells the first process");
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            assert_eq!(bench.finish(started).exit.how, ExitHow::ContainerLost, "{}", bench.name());
            assert_eq!(containers(bench), 0, "{}", bench.name());
        });
    }
}

/// The first process of the only container that an engine has; other tests of this machine have some as well.
fn entry_of_the_container(bench: &Bench) -> Option<rustix::process::Pid> {
    let listed = ask(bench, "/containers/json");
    let id = listed[0]["Id"].as_str()?;
    let pid = ask(bench, &format!("/containers/{id}/json"))["State"]["Pid"].as_i64()?;
    rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)
}

/// Is the agent that [`an_agent_that_is_killed_leaves_nothing`] kills; it does nothing when run as a test.
#[test]
fn agent_of_another_process() {
    let Ok(told) = std::env::var("MANTA_TEST_ENGINE") else { return };
    let mut parts = told.split('|');
    let mut part = || parts.next().unwrap().to_owned();
    let name = part();
    let engine = ENGINES.into_iter().find(|engine| engine.name() == name).unwrap();
    let settings = manta_sandbox::ContainerSettings {
        engine,
        socket: part().into(),
        dir: part().into(),
        program: part().into(),
        args: vec!["entry".to_owned()],
    };
    let bench = Bench::over(settings);
    let started = bench.start(bench.spec("import signal\nprint('up', flush=True)\nsignal.pause()"));
    assert_eq!(started.line(), "up");
    println!("agent-is-up");
    loop {
        std::thread::park();
    }
}

#[test]
fn an_agent_that_is_killed_leaves_nothing() {
    for engine in ENGINES {
        with(engine, |bench| {
            let told = settings(bench.daemon.as_ref().unwrap(), "killed");
            let words =
                [told.socket.display(), told.dir.display(), told.program.display()].map(|path| path.to_string());
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", "lifetime::agent_of_another_process", "--nocapture"]);
            command.env("MANTA_TEST_ENGINE", format!("{}|{}", engine.name(), words.join("|"))).stdout(Stdio::piped());
            let mut agent = command.spawn().unwrap();
            let mut lines = std::io::BufRead::lines(std::io::BufReader::new(agent.stdout.take().unwrap()));
            let up = lines.by_ref().map_while(Result::ok).any(|line| line.contains("agent-is-up"));
            assert!(up, "the other agent has started a container");
            assert_eq!(containers(bench), 1);
            agent.kill().unwrap();
            agent.wait().unwrap();
            // The entry sees the end of its agent, and the engine removes what has ended.
            wait_until("the container is gone", || containers(bench) == 0);
            // A next agent finds nothing to do, and works.
            let next = bench.runtime.block_on(Containers::open(settings(bench.daemon.as_ref().unwrap(), "next")));
            next.unwrap();
        });
    }
}

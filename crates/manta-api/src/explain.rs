//! What each error of the catalogue means and what to do about it: the text of its page.
use crate::error::ErrorCode;

/// The page of one error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// What it means, in one to three sentences.
    pub meaning: &'static str,
    /// A message as it is printed.
    pub example: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

const fn page(meaning: &'static str, example: &'static str, remedy: &'static str) -> Explanation {
    Explanation { meaning, example, remedy }
}

/// The page of all errors, below which each code has a heading of its own.
const DOCS_PAGE: &str = "docs/reference/errors.md";

impl ErrorCode {
    /// Where the documentation speaks of it: `docs/reference/errors.md#manta-0107`.
    pub fn docs(self) -> String {
        format!("{DOCS_PAGE}#{}", self.code().to_ascii_lowercase())
    }

    /// The kind that people mean by `MANTA-0107`, `manta-0107`, `0107` or `107`.
    pub fn meant_by(text: &str) -> Option<Self> {
        let text = text.trim();
        let (head, tail) = text.split_at_checked(6).unwrap_or(("", text));
        let digits = if head.eq_ignore_ascii_case("manta-") { tail } else { text };
        let is_number = (1..=4).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { Self::from_code(&format!("MANTA-{digits:0>4}")) } else { None }
    }

    /// Its page.
    pub const fn explanation(self) -> Explanation {
        match self {
            Self::ModulePath => page(
                "A module is named by a path, and nothing is there. Paths are read from the folder of the swarm's file.",
                "the module's path `modules/worker` does not exist",
                "Correct the path in `Module(…)`, or make the file or folder.",
            ),
            Self::NoEntryPoint => page(
                "A module must hold one subclass of `Task`, or a function `main()`. It holds none, several classes without one that is named, or one without `run()`.",
                "`modules/worker.py` has no `main()` and no task class",
                "Write one `class Worker(Task)` with `run()`, or `main()`; `manta module check PATH` reads a module without running it.",
            ),
            Self::SyntaxError => page(
                "Python cannot parse a file of the module. Modules are read before they are sent, never imported.",
                "lib.py:12: `(` was never closed",
                "Correct the line that the message names.",
            ),
            Self::BadMaximum => page(
                "`maximum` says on how many nodes a task runs: -1 for no limit, a whole number of at least 1, or a share in (0, 1].",
                "`maximum` is -1 for no limit, an int of at least 1, or a share in (0, 1], not 0",
                "Give a number in one of these ranges, or leave it out.",
            ),
            Self::UnknownMethod => page(
                "`method` says how a task's nodes are chosen, and there is no such way.",
                "`anny` is no method of placement",
                "Take the nearest name that the hint gives; the module `manta.apis` lists all.",
            ),
            Self::BadGraph => page(
                "What `execute()` gives back must be the last task of the graph, or a list of last tasks, of one connected graph without a cycle that is not a loop.",
                "`execute()` returned None in place of a task",
                "Return the task, or the tasks, with which an iteration ends.",
            ),
            Self::SwarmFile => page(
                "The swarm's file cannot be imported, holds no swarm, or its class cannot be made. The user's own traceback is printed above the error.",
                "swarm.py:2: ValueError: no such column",
                "Correct what the traceback names. Where a file holds several swarms, name one: `swarm.py:Class`.",
            ),
            Self::ValueNotCarried => page(
                "A global or a result is of a type that Manta does not carry between machines, or nested too deeply. Nothing is ever pickled.",
                "`results[\"model\"]` is a `Model`, which cannot be carried",
                "Publish arrays, tensors, tables, numbers, text, bytes, or lists and mappings of them; `docs/reference/values.md` lists all types.",
            ),
            Self::UnboundName => page(
                "An `except` clause names something that nothing in the file binds, so that the clause would itself fail when an error comes.",
                "worker.py:9: `RequestException` in an `except` clause is never bound",
                "Import the name, or take it out of the clause.",
            ),
            Self::BadArgument => page(
                "An argument of a function or of a command cannot be used: of another type, out of its range, or unknown. On the command line the exit code is 2.",
                "--data `digits=` names no path",
                "Correct the argument that the message names; `manta VERB --help` lists all, with their ranges.",
            ),
            Self::NotOffered => page(
                "The name is part of the specification, and this release does not carry it out yet. It is refused so that nothing is silently left out.",
                "this release does not offer it yet: `schedule=`",
                "Leave it out, or take a later release.",
            ),
            Self::NoBinary => page(
                "The Python package starts the `manta` program, and cannot find it.",
                "the `manta` program cannot be found",
                "Install the wheel, which has both, or name the program with MANTA_BINARY.",
            ),
            Self::Configuration => page(
                "A file of settings, `config.toml`, `credentials.toml` or `[tool.manta]` in `pyproject.toml`, cannot be used: an unknown key, a value of another type or unit, a context that is not there, or a secret that others can read. Nothing was sent.",
                "`/home/ada/.config/manta/config.toml`:3: unknown key `maneger` in [contexts.prod]",
                "Correct the line that the message names; `manta config show --origin` says where every setting comes from.",
            ),
            Self::NoDataset => page(
                "A task needs a dataset that no node of the cluster offers under that name.",
                "no node offers the dataset `digits`; offered: digit",
                "Take one of the names that `manta node ls` lists, or start a node with `--data NAME=PATH`.",
            ),
            Self::NoNode => page(
                "No node that is known could ever run the task: none fits its selector, has its image, or is large enough. Each node's cause is told.",
                "no node can run task `worker`: node-1 lacks label `gpu`",
                "Change the selector or the limits, or add a node; `manta plan` tells the same before anything is sent.",
            ),
            Self::InvalidSwarm => page(
                "The swarm breaks a rule that is checked before anything runs: a name, a limit, a loop, a reference between tasks.",
                "task `worker` follows `aggregator`, which does not exist",
                "Correct what the message names.",
            ),
            Self::MissingBlob => page(
                "A submission names bytes by their digest, and the manager does not have them. Programs of ours send them first.",
                "the blob `b3:…` is not stored",
                "Send the blob, then submit again under the same key.",
            ),
            Self::DigestMismatch => page(
                "Bytes arrived that are not those that their digest names. They were damaged on their way, or something between changed them, and were not taken.",
                "the bytes that came for blob `b3:…` have another digest",
                "Try again. Where it comes back, look at proxies and memory of both machines; `manta manager scrub` checks what is stored.",
            ),
            Self::DatasetPath => page(
                "The path behind a dataset does not exist or cannot be read by the node's agent.",
                "the dataset `digits` at `/data/digits` cannot be read: No such file or directory",
                "Correct the path after `--data NAME=`, or give the agent's user the right to read it.",
            ),
            Self::SwarmFailed => page(
                "A task run ended without what its rule asks for, and the swarm with it. It is the user's own failure: the node, the file and the line are told.",
                "swarm FedAvg failed: task `worker` failed on 2 of 5 nodes; 4 are needed",
                "Read the place that the hint names; `manta why SWARM` tells the chain of causes, `manta logs SWARM --first-error` the first line that matters, `manta replay ATTEMPT` runs it again, and `manta retry SWARM` goes on from there.",
            ),
            Self::TargetMissed => page(
                "The demo ran to its end and its model is worse than it should be.",
                "accuracy 0.84 is below the target of 0.9",
                "Give it more iterations; where the arguments are the demo's own, report it as a bug.",
            ),
            Self::BadImage => page(
                "An image cannot be taken in or used: not there, of another machine's architecture, malformed, or hostile.",
                "the image `python` cannot be used: its layer climbs out of the root",
                "Read the cause; `manta image ls` lists the images of this machine, `manta image pull` brings one.",
            ),
            Self::Untrusted => page(
                "A signature does not verify, a key is expired or revoked, or a policy asks for a signature that is not there.",
                "`worker` 1.0.0 is signed by no key that this policy allows",
                "Sign with `manta module sign`, or let the site add the key to its policy.",
            ),
            Self::WaitedTooLong => page(
                "A command waited for as long as it was told to, and what it waited for did not come. What it waited for goes on.",
                "swarm FedAvg is still running after 600 s",
                "Wait again with a longer `--timeout`; `manta why SWARM` says what it waits for, `manta stop SWARM` ends it.",
            ),
            Self::Dependencies => page(
                "What a module depends on cannot be resolved, fetched or installed for the nodes' platform.",
                "`scikit-lern` is not known to the index",
                "Correct the requirement that the message names; `--offline` uses caches alone.",
            ),
            Self::NotFound => page(
                "Nothing has that name or id in this cluster. A name that is near is offered.",
                "there is no swarm `FedAgv`",
                "Take the name that the hint offers; `manta ls` and `manta node ls` list what there is.",
            ),
            Self::Unauthorized => page(
                "The manager wants to know who asks, and the token is missing, wrong, expired or revoked.",
                "no token was given for the manager",
                "Set MANTA_TOKEN_FILE to the token's file, or keep it with a context: `manta context add NAME --manager URL --token-file FILE`.",
            ),
            Self::Forbidden => page(
                "The token is known, and may not do this: it belongs to another role, another cluster or a node.",
                "this token may not do that",
                "Use a token that may, or ask whoever runs the cluster.",
            ),
            Self::BadHost => page(
                "The request's `Host` header names another host than the manager serves. It is refused so that a web page cannot reach a manager on this machine.",
                "the request names another host",
                "Use the address that the manager printed when it started.",
            ),
            Self::BadRequest => page(
                "The request cannot be read: not JSON, a field that is missing, of another type or unknown, or a method that is not served there.",
                "`soon` is no number of `after`",
                "Correct the field that the message names; `docs/reference/openapi.json` describes the API.",
            ),
            Self::Conflict => page(
                "What was asked conflicts with what is there: the same key with another content, a version that is taken, a state from which there is no such way.",
                "swarm FedAvg has succeeded and cannot be stopped",
                "Look at what is there with `manta show`; take another key, name or version.",
            ),
            Self::QuotaReached => page(
                "The cluster has as many swarms, attempts or bytes as whoever runs the manager lets it have. Which quota, its value and what is used are told.",
                "the cluster has 20 swarms that go on, and may have 20",
                "Let something end or stop it with `manta stop`, or ask for more; `manta quota show` tells what is used.",
            ),
            Self::TooLarge => page(
                "It is larger than a limit, which the message names with its value.",
                "the header of 12 MiB is larger than the limit of 8 MiB",
                "Make it smaller or fewer; `docs/guides/limits.md` says which limits a site can raise.",
            ),
            Self::Unreachable => page(
                "Nobody answers at the manager's address, or the connection broke off and did not come back.",
                "the manager at `http://127.0.0.1:7766` cannot be reached: Connection refused",
                "Start one with `manta manager run`, or point `--manager`, MANTA_MANAGER or a context at the one that runs. `manta config show --origin` says where the address comes from.",
            ),
            Self::PortInUse => page(
                "Another program listens at the address.",
                "the address 127.0.0.1:7766 is in use",
                "Stop the other program, or take another address with `--listen`.",
            ),
            Self::DataDirLocked => page(
                "Another manager or agent uses the data directory. Two at once would damage it.",
                "the data directory `data` is in use by process 4711",
                "Stop the other one, or take another directory with `--data-dir`.",
            ),
            Self::NotLoopback => page(
                "The manager would be reachable from other machines in a way that is not protected.",
                "`0.0.0.0:7766` is no loopback address",
                "Listen on 127.0.0.1, ::1 or a Unix socket, or as `manta manager run --help` says for other addresses.",
            ),
            Self::NoContainment => page(
                "The node's host lacks what it takes to contain a task, and the agent refuses to run code without it.",
                "this host cannot contain a task: user namespaces are off",
                "`manta doctor` names what is missing, with what to do for each.",
            ),
            Self::VersionMismatch => page(
                "Two parts of different releases met that do not understand each other.",
                "the node speaks protocol 3, this manager 4",
                "Compare `manta --version` on both sides, and upgrade the older one.",
            ),
            Self::SignInRefused => page(
                "A sign-in came to nothing: the issuer of identities refused, what it said is not to be believed, or whoever it names is no user here.",
                "the ID token is not believed: it is over: ID token expired at 2026-11-26 10:00:00 UTC (current time is 2026-11-26 10:05:00 UTC)",
                "Begin another with `manta login`. Where it says who you are to be here, an admin of the cluster can add you: `manta user add NAME --role ROLE`.",
            ),
            Self::IssuerAway => page(
                "The issuer of identities that people sign in at does not answer, or not as OpenID Connect has it. The manager serves all else, and tokens count as before.",
                "the issuer `https://id.example` does not answer as it should: Request failed: Connection refused",
                "See that the issuer runs and that the manager's machine reaches it; `manta doctor` says whether it answers.",
            ),
            Self::Storage => page(
                "A file cannot be read or written: the disk is full or failing, or a right is missing.",
                "`data/state.db` cannot be written: No space left on device",
                "Make room or give the right, then try again. Nothing that was acknowledged is lost.",
            ),
            Self::Corrupt => page(
                "Stored bytes are no longer what was written. They were set aside, and are never served.",
                "`data/state.db` is damaged: row 12 of `swarms` fails its checksum",
                "Bring a backup back with `manta manager restore`; `manta manager scrub` lists all that is damaged. Check the disk.",
            ),
            Self::TaskRefused => page(
                "Raised in a task: the platform said no, in words of its own. All other errors of tasks are of this kind too: `except MantaError` catches them.",
                "the attempt is over, and publishes nothing more",
                "Read the message; it says what was refused and why.",
            ),
            Self::NoTask => page(
                "Raised in a task: `local`, `world`, `globals` or `results` was touched in a process that runs no task.",
                "`world` belongs to a running task",
                "Use it inside of `run()`; `manta.testing` runs a task in a test.",
            ),
            Self::DatasetNotAuthorized => page(
                "Raised in a task: the module opens a dataset that it does not list, so nobody was asked whether it may.",
                "the module does not list the dataset `patients`",
                "Add it to the module's `datasets`.",
            ),
            Self::ResultNotFound => page(
                "Raised in a task: no task before this one published a result of that name that counts.",
                "nothing published `weigths`; published: weights",
                "Take one of the names that the message lists, or give a default.",
            ),
            Self::GlobalNotFound => page(
                "Raised in a task: the swarm declares no global of that name.",
                "the swarm has no global `rate`; it has: model",
                "Declare it with `set_global()`, or correct the name.",
            ),
            Self::DataCorruption => page(
                "Raised in a task: bytes of an input fail their check.",
                "the result `weights` of node-2 is damaged",
                "Let the attempt fail: another one fetches the bytes again.",
            ),
            Self::ResourceExhaustion => page(
                "Raised in a task: it reached a limit of its own, or the node's disk is full. The limit and its value are told.",
                "the scratch of 1.0 GiB is full",
                "Use less, or ask for more in the task's limits; `docs/guides/limits.md` names them.",
            ),
            Self::AgentGone => page(
                "Raised in a task: the node's agent no longer answers; the attempt is being ended.",
                "the node's agent no longer answers",
                "Nothing in the task: the manager makes another attempt.",
            ),
            Self::UnknownTaskOrNode => page(
                "Raised in a task: a task or node is selected that the swarm or cluster does not have.",
                "the swarm has no task `agregator`; it has: aggregator, worker",
                "Take one of the names that the message lists.",
            ),
            Self::TaskArgument => page(
                "Raised in a task: an argument of `manta.light` is of another type or out of its range.",
                "`step` is a whole number of at least 0, not -1",
                "Correct the argument that the message names.",
            ),
            Self::DatasetMissing => page(
                "Raised in a task: the node offered a dataset whose file is no longer there or cannot be read.",
                "the file of dataset `digits` is gone",
                "Ask whoever runs the node; `manta node ls` shows what nodes offer.",
            ),
            Self::Internal => page(
                "A fault of Manta itself, or of the system below it. It should not happen.",
                "the runtime cannot start: Resource temporarily unavailable",
                "Try again; where it comes back, report it with the message and `manta --version`.",
            ),
        }
    }
}

/// All pages as one document (Markdown), a heading for each code.
pub fn reference() -> String {
    let mut text = String::from(
        "# Errors\n\n\
         Every error has a code that never changes, a sentence, and what to do. `manta explain 0107` prints one of these\n\
         sections; `--json` errors have the code as `code` and the section as `docs`, answers of the API as `code`,\n\
         Python's exceptions as `.code`. This page is generated from the catalogue.\n\n\
         | exit code | meaning |\n|---|---|\n",
    );
    for (exit, meaning) in EXITS {
        text.push_str(&format!("| {exit} | {meaning} |\n"));
    }
    for code in ErrorCode::ALL {
        let Explanation { meaning, example, remedy } = code.explanation();
        let (id, title, exit, status) = (code.code(), code.title(), code.exit(), code.status());
        text.push_str(&format!(
            "\n## {id}\n\n**{}{}.** Exit code {exit}, HTTP status {status}.\n\n{meaning}\n\n\
             ```text\nerror[{id}]: {example}\n```\n\n*What to do:* {remedy}\n",
            title[..1].to_uppercase(),
            &title[1..]
        ));
    }
    text
}

/// What each exit code of the command line means.
pub const EXITS: [(u8, &str); 10] = [
    (0, "success"),
    (1, "the run or the task failed, or the machine did"),
    (2, "the command line or a file of settings cannot be used"),
    (3, "there is no such thing"),
    (4, "refused: by a check, a rule or a policy"),
    (5, "the manager cannot be reached"),
    (6, "not authorised"),
    (7, "waited for as long as allowed"),
    (8, "it conflicts with what is there"),
    (130, "interrupted"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page_that_says_something() {
        let text = reference();
        for code in ErrorCode::ALL {
            let Explanation { meaning, example, remedy } = code.explanation();
            for sentence in [meaning, remedy] {
                assert!(sentence.len() > 20 && sentence.ends_with(['.', ':']), "{code:?}: {sentence}");
            }
            assert!(!example.is_empty() && !example.ends_with('.') && !example.contains('\n'), "{code:?}: {example}");
            assert!(text.contains(&format!("\n## {}\n", code.code())), "{code:?}");
            assert!(EXITS.iter().any(|(exit, _)| *exit == code.exit()), "{code:?}");
        }
    }

    #[test]
    fn people_write_codes_in_several_ways() {
        for text in ["MANTA-0107", "manta-0107", "0107", "107", " 107\n"] {
            assert_eq!(ErrorCode::meant_by(text), Some(ErrorCode::SwarmFile), "{text:?}");
        }
        for text in ["", "MANTA-", "MANTA", "01070", "10x", "-107", "９", "MANTA-99", "éééééé"] {
            assert_eq!(ErrorCode::meant_by(text), None, "{text:?}");
        }
    }

    /// Python has names and titles of its own for the codes that it raises; they are the catalogue's.
    #[test]
    fn python_has_the_same_codes_and_titles() {
        let python = include_str!("../../../python/manta/_codes.py");
        let mut names = std::collections::BTreeMap::new();
        let mut titles = 0;
        for line in python.lines() {
            if let Some((name, code)) = line.split_once(" = \"MANTA-") {
                names.insert(name, format!("MANTA-{}", code.trim_end_matches('"')));
            } else if let Some((key, title)) = line.trim().split_once(": \"") {
                let key = key.trim_matches('"');
                let code = names.get(key).map_or(key, String::as_str);
                let known = ErrorCode::from_code(code).unwrap_or_else(|| panic!("`{code}` is not in the catalogue"));
                assert_eq!(title.trim_end_matches("\","), known.title(), "{code}");
                titles += 1;
            }
        }
        assert!(names.len() > 10 && titles >= names.len(), "{} names, {titles} titles", names.len());
    }
}

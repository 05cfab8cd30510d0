//! The launcher and the entry of containers as a program of their own, for this crate's tests; the `manta` binary calls the same
//! functions.

fn main() {
    let mut args = std::env::args_os().skip(1);
    match (args.next(), args.next()) {
        (Some(verb), Some(door)) if verb == "entry" => manta_sandbox::entry_main(door.as_ref()),
        _ => manta_sandbox::launcher_main(),
    }
}

//! The launcher as a program of its own, for this crate's tests; the `manta` binary calls the same function.

fn main() {
    manta_sandbox::launcher_main()
}

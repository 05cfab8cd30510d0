//! The zygote of the bench: the product's own, whose children run the program that follows `-c`.

pub(super) const SOURCE: &str = r#"
import sys
sys.path.insert(0, "/light")
from _zygote import serve

def run(argv, wait):
    wait()
    exec(compile(argv[argv.index("-c") + 1], "<string>", "exec"), {"__name__": "__main__"})

serve(run, sys.argv[1:])
"#;

//! The probe suite in its short form: no engine allows what a builtin sandbox denies.

use manta_sandbox::{ProbeSuite, Verdict};

use crate::bench::with_each;

#[test]
fn no_probe_is_allowed_and_what_tasks_need_works() {
    with_each(|bench| {
        let suite = ProbeSuite::install(&bench.dir.path().join("probes")).unwrap();
        let spec = suite.spec("probes", bench.tier, &bench.image, None);
        let (_, findings) = bench.runtime.block_on(suite.run(&*bench.engine, spec)).unwrap();
        let verdict = Verdict::of(&findings);
        assert!(verdict.holds(), "{}: {:#?}", bench.name(), verdict.allowed);
        assert!(verdict.denied > 80, "{}: {verdict:#?}", bench.name());
        assert!(verdict.broken.is_empty(), "{}: {:#?}", bench.name(), verdict.broken);
    });
}

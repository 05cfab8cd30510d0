//! Compiles the node protocol, without needing `protoc`.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/node.proto");
    let descriptors = protox::compile(["proto/node.proto"], ["proto"])?;
    let mut build = tonic_prost_build::configure().build_transport(false);
    // What a report is made of: a node keeps it on disk, in words that people can read, until it is answered.
    let parts =
        ["Published", "Blob", "NextIteration", "Timings", "Usage", "Failure", "LimitReached", "Allowance", "Metric"];
    for message in ["AttemptFinished", "LogLine"].into_iter().chain(parts) {
        let path = format!(".manta.node.v1.{message}");
        build = build.type_attribute(path, "#[derive(serde::Serialize, serde::Deserialize)]\n#[serde(default)]");
    }
    build.compile_fds(descriptors)?;
    Ok(())
}

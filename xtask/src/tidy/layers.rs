//! The layer rule: a crate depends on lower layers only, and on the testkit for its tests alone.

use super::Source;
use std::collections::BTreeMap;

const TESTKIT: &str = "manta-testkit";

/// What a crate's manifest says of its place.
#[derive(Debug, Default)]
struct Manifest {
    layer: Option<u32>,
    /// The workspace's crates it is built with, and which kind of dependency each is.
    depends_on: Vec<(String, Kind)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal,
    Dev,
}

pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let manifests: BTreeMap<&str, Manifest> =
        sources.iter().filter_map(|source| Some((crate_of(source)?, parse(&source.text)))).collect();
    manifests.iter().flat_map(|(name, manifest)| violations(name, manifest, &manifests)).collect()
}

/// The layer that a crate's manifest names.
pub(super) fn layer_of(sources: &[Source], name: &str) -> Option<u32> {
    sources.iter().find(|source| crate_of(source) == Some(name)).and_then(|source| parse(&source.text).layer)
}

fn crate_of(source: &Source) -> Option<&str> {
    source.path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml").filter(|name| !name.contains('/'))
}

fn violations(name: &str, manifest: &Manifest, all: &BTreeMap<&str, Manifest>) -> Vec<String> {
    let own = match manifest.layer {
        Some(layer) => layer,
        None => return vec![format!("crates/{name}/Cargo.toml: lacks `layer` in [package.metadata.manta]")],
    };
    let violation = |(other, kind): &(String, Kind)| {
        let layer = all.get(other.as_str()).and_then(|manifest| manifest.layer)?;
        let place = format!("crates/{name}/Cargo.toml");
        match kind {
            Kind::Normal if other == TESTKIT => Some(format!("{place}: {TESTKIT} is for dev-dependencies only")),
            Kind::Normal if layer >= own => {
                Some(format!("{place}: layer {own} depends on {other} of layer {layer}; only lower layers are allowed"))
            }
            _ => None,
        }
    };
    manifest.depends_on.iter().filter_map(violation).collect()
}

/// Reads the two things from a manifest that is laid out as all of ours are: one entry a line.
fn parse(text: &str) -> Manifest {
    let mut manifest = Manifest::default();
    let mut section = "";
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
            continue;
        }
        if section == "package.metadata.manta" {
            if let Some((_, layer)) = line.split_once('=').filter(|(key, _)| key.trim() == "layer") {
                manifest.layer = layer.trim().parse().ok();
            }
        }
        let kind = match section.rsplit('.').next() {
            Some("dependencies" | "build-dependencies") => Kind::Normal,
            Some("dev-dependencies") => Kind::Dev,
            _ => continue,
        };
        let dependency: String = line.chars().take_while(|c| c.is_alphanumeric() || *c == '-').collect();
        if dependency.starts_with("manta-") {
            manifest.depends_on.push((dependency, kind));
        }
    }
    manifest
}

#[cfg(test)]
mod tests {
    use super::{check, Source};

    fn manifest(name: &str, layer: u32, rest: &str) -> Source {
        let text = format!("[package]\nname = \"{name}\"\n[package.metadata.manta]\nlayer = {layer}\n{rest}\n");
        Source { path: format!("crates/{name}/Cargo.toml"), text }
    }

    fn findings(low: &str, high: &str) -> usize {
        check(&[manifest("manta-low", 1, low), manifest("manta-high", 3, high), manifest("manta-testkit", 4, "")]).len()
    }

    #[test]
    fn dependencies_point_downwards() {
        assert_eq!(findings("", "[dependencies]\nmanta-low.workspace = true"), 0);
        assert_eq!(findings("[dependencies]\nmanta-high.workspace = true", ""), 1);
        assert_eq!(findings("[target.'cfg(unix)'.dependencies]\nmanta-high = { path = \"../x\" }", ""), 1);
        assert_eq!(findings("[dev-dependencies]\nmanta-high.workspace = true", ""), 0);
    }

    #[test]
    fn the_testkit_is_for_tests() {
        assert_eq!(findings("", "[dev-dependencies]\nmanta-testkit.workspace = true"), 0);
        assert_eq!(findings("", "[dependencies]\nmanta-testkit.workspace = true"), 1);
    }

    #[test]
    fn a_crate_names_its_layer() {
        let source = Source { path: "crates/manta-x/Cargo.toml".to_string(), text: "[package]\n".to_string() };
        assert_eq!(check(&[source]).len(), 1);
    }
}

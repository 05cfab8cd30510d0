//! What Manta takes from an image's configuration, checked.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Sha256;
use crate::oci::Configuration;

/// Layers of one image.
const LAYERS_MAX: usize = 127;
/// Variables of an image's environment, and their bytes together.
const ENV_MAX: usize = 256;
const ENV_BYTES_MAX: usize = 32 << 10;
/// Where programs are looked for in an image that names no `PATH`.
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// An operating system and a processor, named as image formats do: `linux/amd64`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`.
    pub architecture: String,
}

impl Platform {
    /// This machine's.
    pub fn of_this_machine() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned() }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}

/// What an image asks of those that run it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// For which machines it is.
    pub platform: Platform,
    /// When it was made, as it says.
    pub created: Option<String>,
    /// Digests of its unpacked layers, the lowest first.
    pub layers: Vec<Sha256>,
    /// Its environment, in order.
    pub env: Vec<(String, String)>,
    /// What its makers say of it.
    pub labels: BTreeMap<String, String>,
}

impl Settings {
    /// Reads an image's configuration.
    ///
    /// # Errors
    /// Why it cannot be used, to follow the image's name in a sentence.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, String> {
        let config: Configuration =
            serde_json::from_slice(json).map_err(|error| format!("its configuration is not one: {error}"))?;
        let layers = &config.rootfs.diff_ids;
        if layers.is_empty() || layers.len() > LAYERS_MAX {
            return Err(format!("it has {} layers, and 1 to {LAYERS_MAX} are taken", layers.len()));
        }
        let layers = layers.iter().map(|layer| layer.parse()).collect::<Result<_, crate::DigestError>>();
        let inner = config.config.unwrap_or_default();
        Ok(Self {
            platform: config.platform,
            created: config.created,
            layers: layers.map_err(|error| format!("its configuration names a layer {error}"))?,
            env: environment(&inner.env.unwrap_or_default())?,
            labels: inner.labels.unwrap_or_default(),
        })
    }

    /// Directories in which the image's programs are looked for.
    pub fn path(&self) -> &str {
        self.env.iter().rev().find(|(name, _)| name == "PATH").map_or(PATH_DEFAULT, |(_, value)| value)
    }
}

fn environment(texts: &[String]) -> Result<Vec<(String, String)>, String> {
    let bytes: usize = texts.iter().map(String::len).sum();
    if texts.len() > ENV_MAX || bytes > ENV_BYTES_MAX {
        return Err(format!("its environment is larger than {ENV_MAX} variables or {ENV_BYTES_MAX} bytes"));
    }
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !text.contains('\0') => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("its environment holds {text:?}, which is not NAME=VALUE")),
    };
    texts.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(layers: &str, env: &str) -> String {
        format!(
            r#"{{"architecture":"arm64","os":"linux","config":{{"Env":{env},"Labels":{{"a":"b"}}}},
            "rootfs":{{"type":"layers","diff_ids":{layers}}}}}"#
        )
    }

    #[test]
    fn a_configuration_gives_platform_layers_and_environment() {
        let layer = Sha256::of(b"");
        let text = json(&format!(r#"["{layer}"]"#), r#"["PATH=/opt/bin","X=a=b"]"#);
        let settings = Settings::parse(text.as_bytes()).unwrap();
        assert_eq!(settings.platform.to_string(), "linux/arm64");
        assert_eq!((settings.layers.as_slice(), settings.path()), (&[layer][..], "/opt/bin"));
        assert_eq!(settings.env[1], ("X".to_owned(), "a=b".to_owned()));
    }

    #[test]
    fn what_cannot_be_one_is_refused_in_a_sentence() {
        let layer = Sha256::of(b"");
        let good = format!(r#"["{layer}"]"#);
        for (text, words) in [
            ("{}".to_owned(), "is not one"),
            (json("[]", "[]"), "0 layers"),
            (json(r#"["sha256:xyz"]"#, "[]"), "names a layer"),
            (json(&good, r#"["X"]"#), "NAME=VALUE"),
            (json(&good, r#"["X=\u0000"]"#), "NAME=VALUE"),
            (json(&good, &format!(r#"["X={}"]"#, "y".repeat(40_000))), "larger than"),
        ] {
            let problem = Settings::parse(text.as_bytes()).unwrap_err();
            assert!(problem.contains(words), "{problem}");
        }
    }
}

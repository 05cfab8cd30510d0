//! The packages of a module, for people: which, from where, for what, and which of the image's they take the place of.
use std::collections::BTreeMap;

use manta_image::CURATED;
use manta_module::{Lock, Locked, WheelName};

use crate::package::Package;
use crate::table::Table;
use crate::text::{bytes, one_line};

/// A table of all packages; nothing where there are none.
pub(super) fn render(package: &Package, width: Option<usize>) -> Option<String> {
    let manifest = package.manifest();
    let own = own_packages(&manifest.image);
    let mut table = Table::new(&["SIZE", "PACKAGE", "VERSION", "FOR", "FROM", "INSTEAD OF"]);
    for locked in &manifest.dependencies {
        let places = places(package, locked);
        for (text, wheel) in &locked.wheels {
            // A manifest whose wheels have other names is none.
            let Ok(name) = text.parse::<WheelName>() else { continue };
            let from = places.get(text).map_or("-", String::as_str);
            let replaces = own.contains(&name.distribution.as_str());
            table.row(vec![
                bytes(wheel.size),
                name.distribution.clone(),
                name.version.to_string(),
                locked.runtime().to_string(),
                one_line(from, 60),
                if replaces { "the image's".to_owned() } else { String::new() },
            ]);
        }
    }
    (!manifest.dependencies.is_empty()).then(|| table.render(width))
}

/// The host that each wheel came from, where its lock says so.
fn places(package: &Package, locked: &Locked) -> BTreeMap<String, String> {
    let source = package.packed.sources.get(&locked.lock.digest);
    let lock = source.and_then(|path| std::fs::read(path).ok()).and_then(|bytes| Lock::parse(&bytes).ok());
    let wheels = lock.into_iter().flat_map(|lock| lock.packages).flat_map(|package| package.wheels);
    let placed = wheels.filter_map(|wheel| {
        let url = wheel.url?;
        let host = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest).split('/').next()?;
        Some((wheel.name, host.to_owned()))
    });
    placed.collect()
}

/// Distributions that a curated image is made of.
fn own_packages(image: &str) -> &'static [&'static str] {
    let short = image.strip_prefix("manta_light:").unwrap_or(image);
    let name = short.split([':', '>', '=', '<']).next().unwrap_or(short);
    CURATED.iter().find(|(curated, _)| *curated == name).map_or(&[], |(_, packages)| packages)
}

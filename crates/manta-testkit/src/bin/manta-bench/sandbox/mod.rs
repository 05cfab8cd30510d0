//! `bench sandbox`: what contains tasks, measured beside what others contain programs with.

mod bed;
mod dockerd;
mod others;
mod probes;
mod product;
mod starts;
mod zygote_main;

pub(crate) use probes::measure as probes;
pub(crate) use starts::measure as starts;

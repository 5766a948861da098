//! Tells the program which version of rustls is in it, as `Cargo.lock` has it: the crate itself does not say.
// This is how a build script speaks to Cargo.
#![allow(clippy::print_stdout)]

use std::fs;

fn main() {
    println!("cargo::rerun-if-changed=Cargo.lock");
    let lock = fs::read_to_string("Cargo.lock").unwrap_or_default();
    let version = lock
        .split("name = \"rustls\"\nversion = \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap_or("unknown");
    println!("cargo::rustc-env=SNAPBACK_RUSTLS={version}");
}

//! A changed migration must rebuild the crate, because the migrations are compiled in.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}

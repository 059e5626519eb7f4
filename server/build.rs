//! Finds the built console, or makes a page in its place that says how to build
//! it, so that `cargo build` alone works without Node.

use std::path::{Path, PathBuf};
use std::{env, fs};

const PAGE: &str = "<!doctype html><html lang=\"zh-CN\"><meta charset=\"utf-8\"><title>融通</title>\
<body style=\"font-family:sans-serif;max-width:40em;margin:4em auto;line-height:1.7\">\
<h1>融通服务已启动，但没有控制台</h1>\
<p>这个程序编译时没有找到控制台页面。在源码目录执行 <code>make build</code>（需要 Node.js 20.19 以上），\
它会先构建控制台再编译服务。</p>\
<h2>The server runs, but without its console</h2>\
<p>No console had been built when this program was compiled. Run <code>make build</code> in the source folder \
(it needs Node.js 20.19 or later): it builds the console first and the server after it. The API is at <a href=\"/api/openapi.json\">/api/openapi.json</a>.</p>";

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let dist = manifest.join("../console-web/dist");
    println!("cargo:rerun-if-changed={}", dist.display());
    println!("cargo:rerun-if-changed=build.rs");
    let folder = if dist.join("index.html").is_file() { dist } else { placeholder() };
    println!("cargo:rustc-env=RONGTONG_CONSOLE_DIR={}", folder.display());
}

fn placeholder() -> PathBuf {
    let folder = Path::new(&env::var_os("OUT_DIR").unwrap_or_default()).join("console");
    let made = fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join("index.html"), PAGE));
    if let Err(error) = made {
        println!("cargo:warning=the placeholder page could not be written: {error}");
    }
    folder
}

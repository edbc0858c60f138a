//! The style sheet and the scripts, which are part of the binary. The name of each contains a hash of its content, so that
//! browsers keep it and never use an old one.

mod serve;

use std::sync::LazyLock;

use aws_lc_rs::digest;

pub(crate) use serve::routes;

/// One file.
struct Asset {
    name: &'static str,
    content: &'static [u8],
    content_type: &'static str,
    /// The name with the hash.
    served: String,
}

const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    let asset = |name: &'static str, content: &'static [u8], content_type| {
        let hash: String =
            digest::digest(&digest::SHA256, content).as_ref()[..6].iter().map(|b| format!("{b:02x}")).collect();
        let (stem, ending) = name.rsplit_once('.').expect("each name has an ending");
        Asset { name, content, content_type, served: format!("{stem}.{hash}.{ending}") }
    };
    vec![
        asset("console.css", include_bytes!("../assets/console.css"), CSS),
        asset("console.js", include_bytes!("../assets/console.js"), SCRIPT),
        asset("htmx.js", include_bytes!("../assets/htmx-2.0.11.min.js"), SCRIPT),
        asset("icon.svg", include_bytes!("../assets/icon.svg"), SVG),
    ]
});

/// The address of an asset.
///
/// # Panics
/// If there is no asset of this name, which the test of every page would show.
pub(crate) fn path(name: &str) -> String {
    let asset = ASSETS.iter().find(|asset| asset.name == name);
    format!("/assets/{}", asset.expect("the asset exists").served)
}

/// The file that is served under this name.
fn served(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.served == name)
}

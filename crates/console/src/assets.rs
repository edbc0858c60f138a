//! The style sheet, scripts and icon, which are part of the binary. The served name of each file contains a hash of its
//! content: browsers can cache the file permanently and never use an old version.

mod serve;

use std::sync::LazyLock;

use aws_lc_rs::digest;

pub(crate) use serve::routes;

/// A file that the console serves.
struct Asset {
    name: &'static str,
    content: &'static [u8],
    content_type: &'static str,
    /// File name with the hash of the content.
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

/// Returns the path at which an asset is served.
///
/// # Panics
/// If there is no asset with this name. The tests render every page, so they would find a wrong name.
pub(crate) fn path(name: &str) -> String {
    let asset = ASSETS.iter().find(|asset| asset.name == name);
    format!("/assets/{}", asset.expect("the asset exists").served)
}

/// Returns the asset that is served under this name.
fn served(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.served == name)
}

//! Options of the console, and their validated form.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use axum::http::HeaderName;
use clap::{ArgAction, Args, ValueEnum};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use settings::{Problems, is_loopback_host, secret_source};

use crate::access::{ProxySettings, Role, UsersFile, Visitors};

/// How people are authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Authentication {
    /// No login: only on a loopback address
    None,
    /// Name and password of CONSOLE_USERS_FILE
    Basic,
    /// Name and groups in the headers of an authenticating proxy
    Proxy,
}

/// The options of the console.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Console")]
pub struct ConsoleArgs {
    /// Address at which the console is served
    #[arg(long, env = "CONSOLE_LISTEN", default_value = "127.0.0.1:8088", value_name = "ADDRESS")]
    pub console_listen: SocketAddr,

    /// Authentication of users; on an address that is not a loopback address, `none` is refused
    #[arg(long, env = "CONSOLE_AUTH", value_enum, default_value_t = Authentication::None, value_name = "METHOD")]
    pub console_auth: Authentication,

    /// File with the users for CONSOLE_AUTH=basic; `customerio-aep console users add` writes it
    #[arg(long, env = "CONSOLE_USERS_FILE", value_name = "PATH")]
    pub console_users_file: Option<PathBuf>,

    /// Further values of the header Host to accept, as browsers send them: console.example.com, or host:port. Loopback
    /// names with the console's port are always accepted
    #[arg(long, env = "CONSOLE_HOSTS", value_delimiter = ',', value_name = "HOST,...")]
    pub console_hosts: Vec<String>,

    /// Secret that the proxy sends in the header X-Console-Secret
    #[arg(long, env = "CONSOLE_PROXY_SECRET", hide_env_values = true, value_name = "SECRET")]
    pub console_proxy_secret: Option<SecretString>,

    /// File that holds this secret
    #[arg(long, env = "CONSOLE_PROXY_SECRET_FILE", value_name = "PATH")]
    pub console_proxy_secret_file: Option<PathBuf>,

    /// Addresses of the proxy, which is trusted without a secret
    #[arg(long, env = "CONSOLE_PROXY_PEERS", value_delimiter = ',', value_name = "IP,...")]
    pub console_proxy_peers: Vec<IpAddr>,

    /// Header in which the proxy names the user
    #[arg(long, env = "CONSOLE_PROXY_USER_HEADER", default_value = "X-Forwarded-User", value_name = "NAME")]
    pub console_proxy_user_header: HeaderName,

    /// Header in which the proxy lists the groups of the user, separated by commas
    #[arg(long, env = "CONSOLE_PROXY_GROUPS_HEADER", default_value = "X-Forwarded-Groups", value_name = "NAME")]
    pub console_proxy_groups_header: HeaderName,

    /// Roles of the proxy's groups, for example on-call=operator,support=investigator,*=viewer; `*` is everyone
    #[arg(long, env = "CONSOLE_PROXY_ROLES", value_delimiter = ',', value_name = "GROUP=ROLE,...")]
    pub console_proxy_roles: Vec<GroupRole>,

    /// Allow operators to apply the set-up, to pause webhooks and to send test events from the console
    #[arg(
        long,
        env = "CONSOLE_ALLOW_SETUP",
        action = ArgAction::Set,
        default_value_t = false,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_name = "BOOL"
    )]
    pub console_allow_setup: bool,

    /// Address of Grafana, which the console links to
    #[arg(long, env = "GRAFANA_URL", value_name = "URL")]
    pub grafana_url: Option<GrafanaUrl>,
}

/// A group of the proxy and its role: `GROUP=ROLE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRole(String, Role);

impl std::str::FromStr for GroupRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (group, role) = text.split_once('=').ok_or("write GROUP=ROLE, for example on-call=operator")?;
        let group = group.trim();
        if group.is_empty() {
            return Err("the group before `=` is missing".to_owned());
        }
        Ok(Self(group.to_owned(), role.trim().parse()?))
    }
}

/// An http or https URL without a user or password. Other schemes are refused, because a link with the scheme
/// `javascript` would run a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrafanaUrl(Url);

impl std::str::FromStr for GrafanaUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url: Option<Url> = text.parse().ok();
        let is_good = |url: &Url| {
            matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none()
        };
        url.filter(is_good).map(Self).ok_or_else(|| {
            "this is not an address without a password; write it like https://grafana.example.com".to_owned()
        })
    }
}

/// The validated options.
#[derive(Debug)]
pub struct Settings {
    pub(crate) listen: SocketAddr,
    pub(crate) visitors: Visitors,
    pub(crate) hosts: AllowedHosts,
    pub(crate) allow_setup: bool,
    pub(crate) grafana: Option<Url>,
}

impl Settings {
    /// The address at which the console is served.
    #[must_use]
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Returns the warnings to log at each start.
    pub(crate) fn warnings(&self) -> Vec<&'static str> {
        let mut warnings = Vec::new();
        if !self.listen.ip().is_loopback() {
            warnings.push(
                "the console speaks HTTP: let only a proxy with TLS, or a published port on a loopback address, reach it",
            );
        }
        warnings
    }
}

impl ConsoleArgs {
    /// Checks the options and reads the users file or the proxy secret.
    ///
    /// # Errors
    /// All problems of the options.
    pub fn validate(&self) -> Result<Settings, Problems> {
        let mut problems = Problems::default();
        let visitors = match self.console_auth {
            Authentication::None => self.everyone(&mut problems),
            Authentication::Basic => self.users(&mut problems),
            Authentication::Proxy => self.proxy(&mut problems),
        };
        let hosts = AllowedHosts::new(self.console_listen, &self.console_hosts);
        let hosts = problems.check(hosts);
        match (visitors, hosts) {
            (Some(visitors), Some(hosts)) if problems.is_empty() => Ok(Settings {
                listen: self.console_listen,
                visitors,
                hosts,
                allow_setup: self.console_allow_setup,
                grafana: self.grafana_url.as_ref().map(|url| url.0.clone()),
            }),
            _ => Err(problems),
        }
    }

    fn everyone(&self, problems: &mut Problems) -> Option<Visitors> {
        if !self.console_listen.ip().to_canonical().is_loopback() {
            problems.add(
                "CONSOLE_AUTH=none works only on a loopback address, and CONSOLE_LISTEN is another one: everyone who reaches it would be an operator. Set CONSOLE_AUTH to basic or proxy",
            );
        }
        // A host name that is not a loopback name suggests that other machines reach the console.
        if self.console_hosts.iter().any(|host| !is_loopback_host(host_of(host))) {
            problems
                .add("CONSOLE_HOSTS names a host that is not this machine, which needs CONSOLE_AUTH=basic or proxy");
        }
        Some(Visitors::everyone())
    }

    fn users(&self, problems: &mut Problems) -> Option<Visitors> {
        let path = problems.required("CONSOLE_USERS_FILE", &self.console_users_file)?;
        let users = UsersFile::open(path).map_err(|error| format!("CONSOLE_USERS_FILE: {error}"));
        problems.check(users).map(Visitors::of_file)
    }

    fn proxy(&self, problems: &mut Problems) -> Option<Visitors> {
        let (value, file) = (self.console_proxy_secret.as_ref(), self.console_proxy_secret_file.as_deref());
        let source = problems.check(secret_source("CONSOLE_PROXY_SECRET", value, file));
        let secret = source.flatten().and_then(|source| problems.check(source.read()));
        if secret.as_ref().is_some_and(|secret| secret.expose_secret().len() < 16) {
            problems.add("CONSOLE_PROXY_SECRET has fewer than 16 characters: anyone could guess it");
        }
        if secret.is_none() && value.is_none() && file.is_none() && self.console_proxy_peers.is_empty() {
            problems.add(
                "CONSOLE_AUTH=proxy needs CONSOLE_PROXY_SECRET, or the proxy's addresses in CONSOLE_PROXY_PEERS: otherwise any client could name itself",
            );
        }
        if self.console_proxy_roles.is_empty() {
            problems.add_missing("CONSOLE_PROXY_ROLES", Some("CONSOLE_AUTH=proxy"));
        }
        Some(Visitors::of_proxy(ProxySettings {
            secret,
            peers: self.console_proxy_peers.iter().map(IpAddr::to_canonical).collect(),
            user_header: self.console_proxy_user_header.clone(),
            groups_header: self.console_proxy_groups_header.clone(),
            roles: self.console_proxy_roles.iter().map(|GroupRole(group, role)| (group.clone(), *role)).collect(),
        }))
    }
}

/// Returns the host of `host`, `host:port` or `[address]:port`.
fn host_of(text: &str) -> &str {
    match text.rsplit_once(':') {
        Some((host, port))
            if port.bytes().all(|b| b.is_ascii_digit()) && (!host.contains(':') || host.ends_with(']')) =>
        {
            host
        }
        _ => text,
    }
}

/// Accepted values of the header Host, in lower case. The list prevents DNS rebinding: a page of another site whose
/// host name resolves to this machine sends its own host name, which is not in the list.
#[derive(Debug, Clone)]
pub(crate) struct AllowedHosts(Vec<String>);

impl AllowedHosts {
    fn new(listen: SocketAddr, more: &[String]) -> Result<Self, String> {
        let port = listen.port();
        let mut hosts = vec![format!("localhost:{port}"), format!("127.0.0.1:{port}"), format!("[::1]:{port}")];
        if !listen.ip().is_unspecified() {
            hosts.push(listen.to_string());
        }
        for host in more {
            let host = host.trim().to_ascii_lowercase();
            let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
            if host.is_empty() || !host.chars().all(is_good) {
                return Err(
                    "CONSOLE_HOSTS has an entry that is neither a host nor host:port; write it without https://"
                        .to_owned(),
                );
            }
            hosts.push(host);
        }
        Ok(Self(hosts))
    }

    pub(crate) fn contains(&self, host: &str) -> bool {
        self.0.iter().any(|allowed| allowed.eq_ignore_ascii_case(host))
    }
}

#[cfg(test)]
mod tests {
    use clap::{FromArgMatches, Parser};

    use super::*;
    use crate::access::{NewUser, add_user};
    use crate::testing::Folder;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        console: ConsoleArgs,
    }

    fn args(given: &[&str]) -> ConsoleArgs {
        let command = settings::Variables::none().apply(<Command as clap::CommandFactory>::command());
        let matches = command.get_matches_from([&["console"], given].concat());
        Command::from_arg_matches(&matches).unwrap().console
    }

    fn problems(given: &[&str]) -> Vec<String> {
        args(given).validate().err().map(|problems| problems.to_vec()).unwrap_or_default()
    }

    #[test]
    fn authentication_none_is_accepted_only_for_loopback_addresses_and_hosts() {
        assert!(problems(&[]).is_empty());
        for listen in ["127.9.9.9:1", "[::1]:1"] {
            assert!(problems(&["--console-listen", listen]).is_empty(), "{listen}");
        }
        for listen in ["0.0.0.0:8088", "10.0.0.1:8088", "[::]:8088"] {
            assert!(problems(&["--console-listen", listen])[0].contains("CONSOLE_AUTH=none"), "{listen}");
        }
        assert!(problems(&["--console-hosts=console.example.com"])[0].contains("CONSOLE_HOSTS"));
        assert!(problems(&["--console-hosts=localhost:9000,[::1]:9"]).is_empty());
    }

    #[test]
    fn validation_reports_all_invalid_options_at_once() {
        let found = problems(&["--console-listen=0.0.0.0:8088", "--console-hosts=a.example,https://b.example"]);
        assert_eq!(found.len(), 3, "{found:?}");
    }

    #[test]
    fn basic_authentication_needs_a_readable_users_file() {
        let basic = ["--console-auth=basic", "--console-listen=0.0.0.0:8088"];
        assert_eq!(problems(&basic), ["CONSOLE_USERS_FILE is not set"]);
        let missing = problems(&[&basic[..], &["--console-users-file=/nowhere/users"]].concat());
        assert!(missing[0].starts_with("CONSOLE_USERS_FILE: cannot read"), "{missing:?}");
        let folder = Folder::new("config");
        let path = folder.path("users");
        let new = NewUser { name: "jo".to_owned(), role: Role::Viewer, password: "correct horse".into() };
        add_user(&path, &new).unwrap();
        let file = format!("--console-users-file={}", path.display());
        let settings = args(&[&basic[..], &[&file]].concat()).validate().unwrap();
        assert!(settings.visitors.has_login() && settings.warnings().len() == 1);
    }

    #[test]
    fn proxy_authentication_needs_group_roles_and_a_secret_or_a_peer_address() {
        let proxy = ["--console-auth=proxy", "--console-listen=0.0.0.0:8088"];
        assert_eq!(problems(&proxy).len(), 2);
        let with = |more: &[&str]| problems(&[&proxy[..], more].concat());
        assert!(with(&["--console-proxy-peers=10.0.0.1", "--console-proxy-roles=*=viewer"]).is_empty());
        assert!(with(&["--console-proxy-secret=0123456789abcdef", "--console-proxy-roles=a=operator"]).is_empty());
        let short = with(&["--console-proxy-secret=topsecret", "--console-proxy-roles=a=operator"]);
        assert!(short.len() == 1 && !short[0].contains("topsecret"), "{short:?}");
        assert!("a=admin".parse::<GroupRole>().is_err() && "=viewer".parse::<GroupRole>().is_err());
    }

    #[test]
    fn only_listed_hosts_and_loopback_hosts_with_the_console_port_are_accepted() {
        let hosts = AllowedHosts::new("0.0.0.0:8088".parse().unwrap(), &["Console.example.com".to_owned()]).unwrap();
        for host in ["localhost:8088", "LOCALHOST:8088", "127.0.0.1:8088", "[::1]:8088", "console.example.com"] {
            assert!(hosts.contains(host), "{host}");
        }
        for host in ["localhost", "localhost:80", "0.0.0.0:8088", "evil.example", "console.example.com:8088", ""] {
            assert!(!hosts.contains(host), "{host}");
        }
    }

    #[test]
    fn a_grafana_url_without_http_or_with_a_password_is_refused() {
        assert!("https://grafana.example.com/d/x".parse::<GrafanaUrl>().is_ok());
        for text in ["javascript:alert(1)", "grafana", "https://me:topsecret@grafana.example.com"] {
            assert!(!text.parse::<GrafanaUrl>().unwrap_err().contains("topsecret"), "{text}");
        }
    }
}

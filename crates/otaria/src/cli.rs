//! The command line as clap sees it. Help texts live with the arguments; what a command does lives in its own file.

use clap::{Parser, Subcommand};

use crate::Context;
use crate::commands;
use crate::heap;

/// Over-the-air firmware updates for ESP32: sign, publish, watch.
#[derive(Debug, Parser)]
#[command(name = "otaria", version, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done, 1 refused or failed, 2 wrong usage.")]
#[command(after_long_help = "\
Which server, and with what token: a flag (--server, --token, --ca) counts before a variable (OTARIA_SERVER, OTARIA_TOKEN,
OTARIA_CA), and that before what `otaria login` has left in otaria/config.toml below XDG_CONFIG_HOME, ~/.config or APPDATA;
OTARIA_CONFIG names another file.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage.")]
pub(crate) struct Cli {
    /// Print one JSON document on standard output instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Every command. Adding one: a file in `commands/`, a line here, a line in [`Command::run`].
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Keygen(commands::keygen::Keygen),
    Key(commands::key::Keys),
    Package(commands::package::PackageImage),
    Cosign(commands::cosign::Cosign),
    Inspect(commands::inspect::Inspect),
    Verify(commands::verify::Verify),
    // Has so many options that each command would be as large.
    Provision(Box<commands::provision::Provision>),
    Image(commands::image::Image),
    Serve(commands::serve::Serve),
    Publish(commands::publish::Publish),
    Rollout(commands::rollout::Rollout),
    Devices(commands::devices::Devices),
    Device(commands::device::Device),
    Group(commands::group::Groups),
    Watch(commands::watch::Watch),
    Cancel(commands::cancel::Cancel),
    Logs(commands::logs::Logs),
    Login(commands::login::LogIn),
    Logout(commands::login::LogOut),
    User(commands::user::Users),
    Token(commands::token::Tokens),
    Audit(commands::audit::Audit),
    Webhook(commands::webhook::Webhooks),
    Backup(commands::backup::Backup),
    Restore(commands::backup::Restore),
    Acl(commands::acl::Acl),
    Simulate(commands::simulate::Simulate),
    Demo(commands::demo::Demo),
    Openapi(commands::openapi::OpenApi),
    Completions(commands::completions::Completions),
    Man(commands::man::Man),
}

impl Command {
    /// Carries out the command.
    pub(crate) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        match self {
            Self::Keygen(command) => command.run(ctx),
            Self::Key(command) => command.run(ctx),
            Self::Package(command) => command.run(ctx),
            Self::Cosign(command) => command.run(ctx),
            Self::Inspect(command) => command.run(ctx),
            Self::Verify(command) => command.run(ctx),
            Self::Provision(command) => command.run(ctx),
            Self::Image(command) => command.run(ctx),
            Self::Serve(command) => {
                heap::keep_together();
                commands::runtime()?.block_on(command.run(ctx))
            }
            Self::Publish(command) => command.run(ctx),
            Self::Rollout(command) => command.run(ctx),
            Self::Devices(command) => command.run(ctx),
            Self::Device(command) => command.run(ctx),
            Self::Group(command) => command.run(ctx),
            Self::Watch(command) => command.run(ctx),
            Self::Cancel(command) => command.run(ctx),
            Self::Logs(command) => command.run(ctx),
            Self::Login(command) => command.run(ctx),
            Self::Logout(command) => command.run(ctx),
            Self::User(command) => command.run(ctx),
            Self::Token(command) => command.run(ctx),
            Self::Audit(command) => command.run(ctx),
            Self::Webhook(command) => command.run(ctx),
            Self::Backup(command) => commands::runtime()?.block_on(command.run(ctx)),
            Self::Restore(command) => commands::runtime()?.block_on(command.run(ctx)),
            Self::Acl(command) => command.run(ctx),
            Self::Simulate(command) => commands::runtime()?.block_on(command.run(ctx)),
            Self::Demo(command) => commands::runtime()?.block_on(command.run(ctx)),
            Self::Openapi(command) => command.run(),
            Self::Completions(command) => command.run(),
            Self::Man(command) => command.run(ctx),
        }
    }
}

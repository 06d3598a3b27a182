//! What docs/SCALING.md shows: commands and nginx's configuration, taken from its text and run in its order, with PostgreSQL,
//! Mosquitto and nginx as they are installed. What stands for the reader's machines is replaced; nothing else is.

mod desk;
#[path = "../../otaria-server/tests/common/postgres.rs"]
mod postgres;
#[path = "../../otaria-sim/tests/servers/mod.rs"]
mod servers;

use std::fs;

use desk::{Desk, Running, blocks, with};
use serde_json::Value;

const PAGE: &str = "docs/SCALING.md";
const DATABASE: &str = "'postgres://otaria:PASSWORD@db.lan/otaria?sslmode=verify-full'";

fn commands(heading: &str) -> Vec<String> {
    desk::commands(PAGE, heading)
}

/// Starts a server, and waits until it has said where it is.
fn serve(desk: &Desk, line: &str) -> (Running, Value) {
    let mut server = desk.start(&format!("{line} --json"));
    let started = serde_json::from_str(&server.line()).unwrap();
    (server, started)
}

/// Four simulated pumps of version 1.0.0.
fn pumps(desk: &Desk, mqtt: &str) -> Running {
    desk.start(&format!(
        "otaria simulate --json --key release.pub.pem --mqtt mqtt://{mqtt} --prefix pump- --devices 4 \
         --image pump-1.0.0.bin --flash instant"
    ))
}

/// What a command answers in JSON.
fn asked(desk: &Desk, line: &str) -> Value {
    let output = desk.shell(&format!("{line} --json")).output().unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn wait_for_pumps(desk: &Desk, server: &str) {
    desk.wait_for(&format!("otaria devices --json {server}"), |known| {
        known.matches("\"heap_free\"").count() >= 4
    });
}

#[test]
fn a_server_at_work_is_backed_up_and_put_back_as_the_page_says() {
    let desk = Desk::with_package();
    let lines = commands("One machine");
    let [backup, restore] = &lines[..] else {
        panic!("other commands than before: {lines:?}");
    };
    let anywhere = "--http 127.0.0.1:0 --mqtt-listen 127.0.0.1:0 --open";
    let (server, started) = serve(&desk, &format!("otaria serve --data ./data {anywhere}"));
    let url = |started: &Value| format!("--server {}", started["page"].as_str().unwrap());
    let pumps = pumps(&desk, started["mqtt"].as_str().unwrap());
    wait_for_pumps(&desk, &url(&started));
    desk.run(backup);
    drop((pumps, server));
    fs::rename(desk.0.path().join("data"), desk.0.path().join("lost")).unwrap();
    desk.run(restore);
    let (_server, started) = serve(&desk, &format!("otaria serve --data ./data {anywhere}"));
    let known = asked(&desk, &format!("otaria devices {}", url(&started)));
    assert_eq!(known.as_array().unwrap().len(), 4);
}

#[test]
fn a_server_moves_to_postgresql_in_the_middle_of_a_rollout_as_the_page_says() {
    let Some(cluster) = postgres::cluster() else {
        return;
    };
    let lines = commands("PostgreSQL");
    let [fresh, backup, restore, moved, verify] = &lines[..] else {
        panic!("other commands than before: {lines:?}");
    };
    let desk = Desk::with_package();
    // Where devices and people look for it, before and after.
    let (http, mqtt) = (servers::free_port(), servers::free_port());
    let here = format!("--http 127.0.0.1:{http} --mqtt-listen 127.0.0.1:{mqtt}");
    let (server, _) = serve(&desk, &format!("otaria serve --data ./data {here}"));
    let _pumps = pumps(&desk, &format!("127.0.0.1:{mqtt}"));
    wait_for_pumps(&desk, "");
    fs::write(desk.0.path().join("password"), "four unrelated words here").unwrap();
    desk.run("otaria user add eva --role viewer --password-file password");
    desk.run("otaria token create ci --scope read");
    desk.run("otaria webhook add https://hooks.invalid/otaria --event update.failed");
    let release = blocks("README.md", "Bring a release", "toml").concat();
    fs::write(
        desk.0.path().join("pump-1.1.0.toml"),
        with(&release, "\"1h\"", "\"10s\""),
    )
    .unwrap();
    desk.run("otaria rollout apply pump-1.1.0.toml");
    let kept = [
        "otaria user list",
        "otaria token list",
        "otaria webhook list",
    ];
    let before = kept.map(|line| asked(&desk, line));
    drop(server);

    let url = |name: &str| format!("'{}'", cluster.database(name));
    desk.run(backup);
    desk.run(&with(restore, DATABASE, &url("moved")));
    assert!(!desk.0.path().join("moved/otaria.db").exists());
    let again = with(
        &with(restore, DATABASE, &url("moved")),
        "./moved",
        "./again",
    );
    let refused = desk.shell(&again).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        refused.status.code() == Some(1) && said.contains("not empty"),
        "{said}"
    );
    assert!(!desk.0.path().join("again").exists());

    let moved = with(moved, DATABASE, &url("moved"));
    let (_server, _) = serve(&desk, &format!("{moved} {here}"));
    // With the token of before the move; and by the password.
    desk.run(verify);
    assert_eq!(
        kept.map(|line| asked(&desk, line)).map(without_use),
        before.map(without_use)
    );
    desk.run("otaria rollout status pump-1.1.0 --watch");
    let updated = asked(&desk, "otaria devices --query 'version = 1.1'");
    assert_eq!(updated.as_array().unwrap().len(), 4);
    desk.run(&format!(
        "otaria login http://127.0.0.1:{http} --password-file data/admin-password"
    ));
    desk.run(verify);

    let fresh = with(&with(fresh, DATABASE, &url("fresh")), "./data", "./fresh");
    serve(
        &desk,
        &format!("{fresh} --http 127.0.0.1:0 --mqtt-listen 127.0.0.1:0"),
    );
}

/// A list without when tokens were last used.
fn without_use(mut list: Value) -> Value {
    for one in list.as_array_mut().into_iter().flatten() {
        if let Some(fields) = one.as_object_mut() {
            fields.remove("last_used_at");
        }
    }
    list
}

#[test]
fn two_servers_with_a_broker_of_their_own_work_together_as_the_page_says() {
    let (Some(cluster), Some(broker)) = (
        postgres::cluster(),
        servers::mosquitto("allow_anonymous true"),
    ) else {
        return;
    };
    let desk = Desk::with_package();
    let lines = commands("Two servers");
    let [line] = &lines[..] else {
        panic!("other commands than before: {lines:?}");
    };
    let ports = [servers::free_port(), servers::free_port()];
    let shown = blocks(PAGE, "Two servers", "nginx").concat();
    let shown = with(&shown, "10.0.0.1:8080", &format!("127.0.0.1:{}", ports[0]));
    let shown = with(&shown, "10.0.0.2:8080", &format!("127.0.0.1:{}", ports[1]));
    let (upstream, server) = shown.split_once("server {\n").unwrap();
    let server = with(server, "listen 443 ssl;", "");
    let server = server.trim_end().strip_suffix('}').unwrap();
    let main = "master_process off; events {}";
    let Some(entrance) = servers::nginx_with(&[], main, upstream, server) else {
        return;
    };
    let url = entrance.url("");
    let url = url.trim_end_matches('/');
    let database = format!("'{}'", cluster.database("two"));
    let line = with(line, "postgres://otaria:PASSWORD@db.lan/otaria", &database);
    let mqtt = format!("127.0.0.1:{}", broker.port);
    let line = with(&line, "mqtt://broker.lan", &format!("mqtt://{mqtt}"));
    let line = with(&line, "/mnt/packages", "./packages");
    let line = with(&line, "https://ota.example", url);
    let mut running: Vec<Running> = Vec::new();
    for (port, data) in ports.iter().zip(["./one", "./two"]) {
        let line = with(&line, "./data", data);
        let line = format!("{line} --http 127.0.0.1:{port} --open");
        running.push(serve(&desk, &line).0);
    }
    let _pumps = pumps(&desk, &mqtt);
    let at = format!("--server {url}");
    wait_for_pumps(&desk, &at);
    // Either is enough.
    drop(running.remove(0));
    desk.run(&format!(
        "otaria publish pump-1.1.0.otaria --all --watch {at}"
    ));
    let updated = asked(
        &desk,
        &format!("otaria devices --query 'version = 1.1' {at}"),
    );
    assert_eq!(updated.as_array().unwrap().len(), 4);
}

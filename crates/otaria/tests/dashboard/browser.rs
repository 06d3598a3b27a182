//! A browser that a test drives: headless Chromium through chromedriver, by W3C WebDriver (https://www.w3.org/TR/webdriver2/).
//!
//! Of the clients on crates.io one brings parts under the MPL and another a second HTTP client; these tests need a dozen requests.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::servers;

/// Far longer than anything here takes; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// How WebDriver calls an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// How WebDriver calls keys.
pub(crate) const ENTER: &str = "\u{E007}";
pub(crate) const SPACE: &str = " ";

/// A window.
pub(crate) struct Browser {
    driver: Child,
    session: String,
    origin: String,
}

impl Browser {
    /// Opens a window on `origin`; nothing but that can be reached from it.
    pub(crate) fn open(origin: &str, profile: &Path) -> Option<Self> {
        let (chromium, chromedriver) = (servers::find("chromium")?, servers::find("chromedriver")?);
        let mut driver = Command::new(chromedriver)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = said.find_map(|line| {
            let line = line.ok()?;
            let port = line.split_once("successfully on port ")?.1;
            Some(port.trim_end_matches('.').to_owned())
        });
        let port = port.expect("chromedriver names its port");
        let arguments = [
            "--headless=new",
            // Tests run as root in containers, where Chromium's sandbox does not start.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--window-size=1280,1000",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            &format!("--user-data-dir={}", profile.display()),
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": arguments, "binary": chromium}
        }}});
        let mut browser = Self {
            driver,
            session: format!("http://127.0.0.1:{port}/session"),
            origin: origin.to_owned(),
        };
        let made = browser.post("", &wanted);
        browser.session = format!(
            "{}/{}",
            browser.session,
            made["sessionId"].as_str().unwrap()
        );
        Some(browser)
    }

    fn post(&self, command: &str, body: &Value) -> Value {
        self.try_post(command, body)
            .unwrap_or_else(|error| panic!("{command} {body}: {error}"))
    }

    fn try_post(&self, command: &str, body: &Value) -> Result<Value, Value> {
        let address = format!("{}{command}", self.session);
        let request = ureq::post(&address)
            .config()
            .http_status_as_error(false)
            .build();
        let mut answer = request.send_json(body).unwrap();
        let mut document: Value = answer.body_mut().read_json().unwrap();
        let value = document["value"].take();
        if answer.status().is_success() {
            Ok(value)
        } else {
            Err(value["message"].clone())
        }
    }

    pub(crate) fn go(&self, path: &str) {
        self.post("/url", &json!({"url": format!("{}{path}", self.origin)}));
    }

    pub(crate) fn script(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// Runs a script that calls its last argument when it is done.
    pub(crate) fn script_until_done(&self, script: &str) -> Value {
        self.post("/execute/async", &json!({"script": script, "args": []}))
    }

    fn element(&self, css: &str) -> String {
        let by = json!({"using": "css selector", "value": css});
        let found = self.until(css, || self.try_post("/element", &by).ok());
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    /// Clicks, and again if the page was renewed under the pointer.
    pub(crate) fn click(&self, css: &str) {
        self.until(css, || {
            let command = format!("/element/{}/click", self.element(css));
            self.try_post(&command, &json!({})).ok()
        });
    }

    pub(crate) fn fill(&self, css: &str, text: &str) {
        let element = format!("/element/{}", self.element(css));
        if !css.contains("file") {
            self.post(&format!("{element}/clear"), &json!({}));
        }
        self.post(&format!("{element}/value"), &json!({"text": text}));
    }

    /// Presses keys while an element has the focus.
    pub(crate) fn press(&self, css: &str, keys: &str) {
        let element = format!("/element/{}/value", self.element(css));
        self.post(&element, &json!({"text": keys}));
    }

    /// Says yes to the question that the page asks.
    pub(crate) fn agree(&self) {
        self.until("question", || {
            self.try_post("/alert/accept", &json!({})).ok()
        });
    }

    /// What a person reads on the page.
    pub(crate) fn text(&self) -> String {
        let text = self.script("return document.body.innerText");
        text.as_str().unwrap().to_owned()
    }

    /// Waits until the page says something.
    pub(crate) fn reads(&self, text: &str) {
        let begun = Instant::now();
        while !self.text().contains(text) {
            assert!(
                begun.elapsed() < PATIENCE,
                "no '{text}' in: {}",
                self.text()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn until<T>(&self, what: &str, mut happens: impl FnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(happened) = happens() {
                return happened;
            }
            assert!(begun.elapsed() < PATIENCE, "no {what} in: {}", self.text());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn dark(&self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": value}]});
        let command = json!({"cmd": "Emulation.setEmulatedMedia", "params": media});
        self.post("/goog/cdp/execute", &command);
    }

    /// Keeps a picture of what is seen, where `cargo xtask screenshots` wants them.
    pub(crate) fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("OTARIA_SCREENSHOTS") else {
            return;
        };
        self.script("window.scrollTo(0, 0)");
        let mut answer = ureq::get(format!("{}/screenshot", self.session))
            .call()
            .unwrap();
        let document: Value = answer.body_mut().read_json().unwrap();
        let png = STANDARD
            .decode(document["value"].as_str().unwrap())
            .unwrap();
        std::fs::write(Path::new(&folder).join(format!("{name}.png")), png).unwrap();
    }

    pub(crate) fn width(&self, width: u32) {
        self.post("/window/rect", &json!({"width": width, "height": 1000}));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends Chromium, too.
        let _ = ureq::delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

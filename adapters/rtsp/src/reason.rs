//! Why a camera can't be had, in words that whoever mounts cameras understands.
//!
//! The code is the API's; the sentences are shown as they are. A detail is for
//! experts: one line, without credentials (URLs lose theirs before they get here).

use crate::address::Secrets;
use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    AuthFailed,
    /// What it sends in place of RTP packets is none.
    BadPackets,
    /// Its session description has nothing that can be played.
    BadDescription,
    /// The camera ended the connection.
    Closed,
    /// It ends each session after the same time, or on a request that keeps it alive.
    CutOff,
    /// A fault of ours.
    Internal,
    /// It asks for a login, and none is stored.
    LoginRequired,
    /// It offers no way to log in that we know.
    LoginUnsupported,
    NoUsableTrack,
    NotFound,
    /// It is not registered at this platform at present.
    Offline,
    /// It speaks RTSP and refused or broke a rule.
    ProtocolError,
    /// It said no to a call.
    Refused,
    /// The host's name is unknown.
    ResolveFailed,
    /// What it sends is not RTSP, SDP or RTP.
    Rubbish,
    /// It plays, and nothing comes.
    Silent,
    Timeout,
    TransportRefused,
    /// Not by the way that it is reached.
    Unable,
    Unreachable,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    #[default]
    Chinese,
    English,
}

impl Reason {
    pub fn code(self) -> &'static str {
        match self {
            Self::AuthFailed => "auth_failed",
            Self::BadDescription => "bad_description",
            Self::BadPackets => "bad_packets",
            Self::Closed => "closed",
            Self::CutOff => "cut_off",
            Self::Internal => "internal",
            Self::LoginRequired => "login_required",
            Self::LoginUnsupported => "login_unsupported",
            Self::NoUsableTrack => "no_usable_track",
            Self::NotFound => "not_found",
            Self::Offline => "offline",
            Self::ProtocolError => "protocol_error",
            Self::Refused => "refused",
            Self::ResolveFailed => "resolve_failed",
            Self::Rubbish => "rubbish",
            Self::Silent => "silent",
            Self::Timeout => "timeout",
            Self::TransportRefused => "transport_refused",
            Self::Unable => "unable",
            Self::Unreachable => "unreachable",
        }
    }

    /// What happened.
    pub fn text(self, language: Language) -> &'static str {
        let (chinese, english) = match self {
            Self::AuthFailed => ("摄像机拒绝了用户名或密码", "the camera refused the user name or password"),
            Self::BadPackets => {
                ("摄像机发来的媒体包已损坏，不是有效的 RTP", "the camera's media packets are broken: no valid RTP")
            }
            Self::BadDescription => {
                ("摄像机的会话描述（SDP）无法使用", "the camera's session description (SDP) can't be used")
            }
            Self::Closed => ("摄像机断开了连接", "the camera closed the connection"),
            Self::CutOff => (
                "摄像机每隔一段时间就切断会话（保活未被承认）",
                "the camera cuts its sessions off after a time, whatever keeps them alive",
            ),
            Self::Internal => ("服务器内部错误", "an internal error of this server"),
            Self::LoginRequired => (
                "摄像机要求登录，但没有填写用户名和密码",
                "the camera asks for a login, and no user name and password are stored",
            ),
            Self::LoginUnsupported => (
                "摄像机要求的登录方式（认证算法）不受支持",
                "the camera asks for a login in a way that is not supported",
            ),
            Self::NoUsableTrack => ("码流中没有可用的视频或音频", "the stream has no video or audio that can be used"),
            Self::NotFound => ("摄像机上没有这个地址（路径）", "the camera has no stream at this path"),
            Self::ProtocolError => {
                ("摄像机的应答不符合 RTSP 规范或拒绝了请求", "the camera refused a request or broke the RTSP protocol")
            }
            Self::Offline => ("设备不在线（未注册到本平台）", "the device is offline: it is not registered here"),
            Self::Refused => ("设备拒绝了点播请求", "the device refused to send"),
            Self::ResolveFailed => ("无法解析主机名", "the host name can't be resolved"),
            Self::Rubbish => ("对端发来的数据不是有效的 RTSP/RTP", "what the peer sends is not valid RTSP or RTP"),
            Self::Silent => ("连接成功，但没有收到媒体数据", "connected, but no media arrives"),
            Self::Timeout => ("摄像机没有在规定时间内应答", "the camera did not answer in time"),
            Self::TransportRefused => ("摄像机不支持所选的传输方式", "the camera refuses the chosen transport"),
            Self::Unable => ("设备的接入方式不支持这个操作", "that can't be done by the way the device is reached"),
            Self::Unreachable => ("无法连接到摄像机", "the camera can't be reached"),
        };
        match language {
            Language::Chinese => chinese,
            Language::English => english,
        }
    }

    /// What to try.
    pub fn advice(self, language: Language) -> &'static str {
        let (chinese, english) = match self {
            Self::AuthFailed => (
                "请核对用户名和密码；多次输错后摄像机可能会锁定账号数分钟",
                "Check the user name and password; after several wrong ones cameras lock the account for minutes.",
            ),
            Self::BadPackets => (
                "请重启摄像机，换用另一种传输方式或另一路码流；若仍出现，请把详情发给摄像机厂家",
                "Restart the camera, try the other transport or another stream; if it stays, send the detail to its maker.",
            ),
            Self::BadDescription => (
                "请把详情中指出的那一行发给摄像机厂家，或升级固件、换用另一路码流",
                "Send the line that the detail names to the maker, update the firmware, or use another stream.",
            ),
            Self::Closed => {
                ("摄像机可能已达到最大连接数，或正在重启", "The camera may be at its limit of viewers, or restarting.")
            }
            Self::CutOff => (
                "系统会自动缩短保活间隔；若仍出现，请在摄像机上调大 RTSP 会话超时或更新固件",
                "Keep-alives are sent more often by themselves; if it stays, raise the camera's RTSP session timeout or update its firmware.",
            ),
            Self::Internal => ("请查看服务器日志", "See the server's log."),
            Self::LoginRequired => ("请填写摄像机的用户名和密码", "Enter the camera's user name and password."),
            Self::LoginUnsupported => (
                "请在摄像机上把 RTSP 认证方式改为 Digest（MD5 或 SHA-256）或 Basic；详情中是摄像机给出的方式",
                "Set the camera's RTSP authentication to Digest (MD5 or SHA-256) or Basic; the detail names what it offers.",
            ),
            Self::NoUsableTrack => {
                ("请在摄像机上把编码改为 H.264，音频改为 G.711", "Set the camera to H.264 video and G.711 audio.")
            }
            Self::NotFound => (
                "请核对地址中端口之后的路径，各厂家的路径不同",
                "Check the part of the URL after the port; makers use different paths.",
            ),
            Self::ProtocolError => (
                "请确认地址指向摄像机的 RTSP 服务，并尝试另一种传输方式",
                "Make sure the URL is the camera's RTSP service, and try the other transport.",
            ),
            Self::Offline => (
                "请检查设备的供电和网络，以及设备上填写的平台地址、编码和密码",
                "Check its power and network, and the platform's address, codes and password that are set on it.",
            ),
            Self::Refused => (
                "设备可能已达到最大取流路数；请稍后重试，或关闭其他平台对它的点播",
                "It may be at its limit of streams; try later, or end those of other platforms.",
            ),
            Self::ResolveFailed => ("请核对主机名，或直接使用 IP 地址", "Check the host name, or use the IP address."),
            Self::Rubbish => (
                "请核对端口：该端口上可能不是 RTSP 服务",
                "Check the port: something other than RTSP may be listening there.",
            ),
            Self::Silent => ("如果使用 UDP，请检查防火墙或改用 TCP", "With UDP, check the firewall or choose TCP."),
            Self::Timeout => (
                "请检查网络和防火墙，确认摄像机已开机",
                "Check the network, the firewall, and that the camera is switched on.",
            ),
            Self::TransportRefused => {
                ("请在 TCP 和 UDP 之间切换后重试", "Change from TCP to UDP or the other way round.")
            }
            Self::Unable => (
                "请改用支持该操作的接入方式，例如 GB/T 28181",
                "Connect the device by a way that can do it, such as GB/T 28181.",
            ),
            Self::Unreachable => (
                "请核对 IP 地址和端口（一般为 554），并检查网络",
                "Check the IP address, the port (usually 554) and the network.",
            ),
        };
        match language {
            Language::Chinese => chinese,
            Language::English => english,
        }
    }
}

/// What to do about a picture that browsers don't show; empty for a picture that they do.
pub fn note_advice(note: &str, language: Language) -> &'static str {
    let (chinese, english) = match note {
        "b-frames" => (
            "码流含 B 帧：可以录像，但浏览器暂时看不到；请在摄像机上关闭 B 帧",
            "The stream has B-frames: it is recorded, but browsers don't show it yet. Switch B-frames off in the camera.",
        ),
        "h265" => (
            "码流为 H.265：可以录像，但浏览器暂时看不到；请在摄像机上改为 H.264",
            "The stream is H.265: it is recorded, but browsers don't show it yet. Set the camera to H.264.",
        ),
        "interlaced" => (
            "码流为隔行扫描：可以录像，但浏览器暂时看不到；请改为逐行扫描",
            "The stream is interlaced: it is recorded, but browsers don't show it yet. Set the camera to progressive.",
        ),
        "profile" => (
            "码流的 H.264 档次浏览器不支持：可以录像；请改为 Baseline、Main 或 High",
            "Browsers don't support the stream's H.264 profile: it is recorded. Set the camera to Baseline, Main or High.",
        ),
        _ => ("", ""),
    };
    match language {
        Language::Chinese => chinese,
        Language::English => english,
    }
}

/// A reason with one line of detail for experts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", .reason.text(Language::English))]
pub struct Failure {
    pub reason: Reason,
    pub detail: String,
}

impl Failure {
    pub fn new(reason: Reason, detail: impl AsRef<str>) -> Self {
        // retina's messages go on with connection and packet numbers after an empty line.
        let line = detail.as_ref().lines().next().unwrap_or_default();
        Self { reason, detail: line.chars().take(400).collect() }
    }
}

/// What stage of talking to the camera an error came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Describe,
    Media,
    Play,
    Setup,
}

impl Failure {
    /// retina's errors carry a status code or, failing that, only their sentence, in which a
    /// camera may say back the `secrets` that it was sent.
    pub(crate) fn from_retina(stage: Stage, error: &retina::Error, secrets: &Secrets) -> Self {
        let text = secrets.hide(&error.to_string());
        let reason = match error.status_code() {
            Some(401 | 403) => Reason::AuthFailed,
            Some(404 | 454) if stage == Stage::Describe => Reason::NotFound,
            Some(461) => Reason::TransportRefused,
            // Success, but its contents were not understood.
            Some(200..=299) if stage == Stage::Describe => Reason::BadDescription,
            Some(_) => Reason::ProtocolError,
            None => from_sentence(&text),
        };
        Self::new(reason, text)
    }
}

fn from_sentence(text: &str) -> Reason {
    let starts = |prefix: &str| text.starts_with(prefix);
    if starts("Unable to connect") {
        if text.contains("timed out") { Reason::Timeout } else { Reason::Unreachable }
    } else if starts("Timeout") {
        Reason::Timeout
    } else if starts("Error reading") || starts("Error writing") {
        Reason::Closed
    } else if starts("Unsupported") || starts("Failed precondition") || starts("Invalid argument") {
        Reason::ProtocolError
    } else {
        Reason::Rubbish
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_code_and_words_of_its_own_in_both_languages() {
        use Reason::*;
        let all = [
            AuthFailed,
            BadDescription,
            BadPackets,
            Closed,
            CutOff,
            Internal,
            LoginRequired,
            LoginUnsupported,
            NoUsableTrack,
            NotFound,
            Offline,
            ProtocolError,
            Refused,
            ResolveFailed,
            Rubbish,
            Silent,
            Timeout,
            TransportRefused,
            Unable,
            Unreachable,
        ];
        let mut seen = std::collections::BTreeSet::new();
        for reason in all {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.code());
            for language in [Language::Chinese, Language::English] {
                assert!(seen.insert(reason.text(language)) && seen.insert(reason.advice(language)), "{reason:?}");
                assert_eq!(reason.text(language).is_ascii(), language == Language::English, "{reason:?}");
            }
        }
    }

    #[test]
    fn a_detail_is_one_short_line() {
        let failure = Failure::new(Reason::Rubbish, format!("{}\n\nconn: 1.2.3.4", "x".repeat(500)));
        assert_eq!(failure.detail.len(), 400);
    }
}

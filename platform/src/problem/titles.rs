//! Titles by code, and by status for codes that have none of their own. RFC 9457 §3.1.4: a title
//! belongs to the type of the problem and does not change from one occurrence to the next.

use http::StatusCode;

use super::{Problem, Said, invalid_field, said};
use crate::identity::PasswordFault;

pub(super) fn title(code: &str, status: StatusCode) -> Said {
    match code {
        "bad_credentials" => said("登录失败", "Sign-in failed"),
        "locked" => said("账号已锁定", "Account locked"),
        "password_change_required" => said("请先修改密码", "Change the password first"),
        "origin_mismatch" => said("来源不符", "Wrong origin"),
        "wrong_password" => said("旧密码不正确", "Wrong old password"),
        "account_taken" => said("账号已存在", "Account taken"),
        "last_admin" => said("最后一位管理员", "Last administrator"),
        _ => by_status(status),
    }
}

fn by_status(status: StatusCode) -> Said {
    match status.as_u16() {
        401 => said("需要登录", "Sign-in needed"),
        403 => said("没有权限", "Not allowed"),
        404 => said("没有找到", "Not found"),
        405 => said("不支持的方法", "Method not allowed"),
        408 => said("请求超时", "Request timed out"),
        409 => said("发生冲突", "Conflict"),
        410 => said("已不存在", "Gone"),
        413 => said("内容过大", "Too large"),
        415 => said("不支持的内容类型", "Unsupported media type"),
        416 => said("范围不正确", "Range not satisfiable"),
        422 => said("内容无效", "Invalid content"),
        429 => said("请求过多", "Too many requests"),
        501 => said("不支持", "Not supported"),
        503 => said("暂时不可用", "Unavailable"),
        400..=499 => said("请求不正确", "Bad request"),
        _ => said("服务器出错", "Server error"),
    }
}

pub(super) fn password(fault: PasswordFault) -> Problem {
    let message = match fault {
        PasswordFault::Short => said("新密码至少 10 个字符。", "The new password needs at least 10 characters."),
        PasswordFault::Long => said("新密码不能超过 256 字节。", "The new password has more than 256 bytes."),
        PasswordFault::Plain => said(
            "新密码须含小写字母、大写字母、数字、其他字符中的三类。",
            "The new password needs three of: lower-case letters, capitals, digits, other \
             characters.",
        ),
        PasswordFault::Account => said("新密码不能包含账号。", "The new password contains the account."),
        PasswordFault::Unchanged => said("新密码不能与旧密码相同。", "The new password is the old one."),
    };
    invalid_field("password", message)
}

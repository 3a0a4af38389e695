"""A list in an old encoding is read, and what it was taken for is said."""

from __future__ import annotations

from pathlib import Path

from support.campaign_folder import CampaignFolder

CHINESE = "email,name\nwang@163.com,王小明\nli@163.com,李四\nzhang@qq.com,张伟\n"


def test_an_encoding_that_was_found_out_by_looking_is_said(tmp_path: Path) -> None:
    folder = CampaignFolder(tmp_path)
    folder.write("list.csv", CHINESE.encode("gbk"))
    ran = folder.queue().ok()
    assert "list.csv is read as gb18030; --encoding names another." in ran.stderr
    assert "王小明" in folder.cli("campaign", "export", "spring").ok().stdout


def test_nothing_is_said_of_utf_8_and_of_an_encoding_that_was_named(tmp_path: Path) -> None:
    folder = CampaignFolder(tmp_path)
    assert "is read as" not in folder.queue().ok().stderr
    folder.write("list.csv", CHINESE.encode("gbk"))
    assert "is read as" not in folder.queue("--encoding", "gbk", name="summer").ok().stderr

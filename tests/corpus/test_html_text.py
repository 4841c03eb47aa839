"""What can be read on an HTML page."""

from __future__ import annotations

import html
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.corpus import html_text as html_text_module
from realm.corpus.html_text import html_text
from realm.corpus.skips import BadRecord

LETTERS = st.text(st.characters(categories=["L", "N", "P", "S", "M", "Zs"]), max_size=30)


def text_of(page: str) -> str:
    return html_text(page.encode())[1]


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<p>One   two\nthree</p>", "One two three"),
        ("<p>One<p>Two", "One\n\nTwo"),
        ("One<br>Two<br/>Three", "One\nTwo\nThree"),
        ("<div>a<div>b</div>c</div>d", "a\nb\nc\nd"),
        ("<h1>Head<em>ing</em></h1>Text", "Heading\n\nText"),
        ("x<ul><li>one<li> two </ul>y", "x\n\none\ntwo\n\ny"),
        ("<table><tr><th>1<th>2<tr><td>3</td> <td>4</td></tr></table>", "1\t2\n3\t4"),
        ("<p>a<b>b</b>c <i>d </i> e</p>", "abc d e"),
        (
            "<p>Fish &amp; chips &lt;caf&eacute;&#33; &copy 1&nbsp;2 AT&T &bogus;",
            "Fish & chips <café! © 1 2 AT&T &bogus;",
        ),
        ("a<pre>\n  b\n\n   c  \n</pre>d", "a\n\n  b\n\n   c  \n\nd"),
        ("<pre>a <b>b</b>\n<i>c</i></pre>", "a b\nc"),
        ("<pre>\r\na\r\n b\rc</pre>", "a\n b\nc"),
        ("<nav>Home</nav><main>Text</main><footer>© us</footer>", "Text"),
        ("<script>if (a < b) '</p>'</script>A<style>p {}</style>B<!-- <p>no</p> -->C", "ABC"),
        ("<template><p>no</template>A<svg><title>no</title><text>no</text></svg>B", "AB"),
        ("<form>Name: <input value=no><select><option>no</select><textarea>no</textarea><button>no</button>", "Name:"),
        ("<title>T</title><noscript>no</noscript>A<iframe src=x>no</iframe>", "A"),
        ("<div><p>a</p><embed src=x><p>b</p></div><p>c<video><source src=x>no</video>d", "a\n\nb\n\ncd"),
        ("</p></div>a</b>b</html>", "ab"),
        ("a < b <3 </ c", "a < b <3"),
        ("", ""),
        ("<!-- -->", ""),
    ],
)
def test_text_is_what_a_reader_of_the_page_sees(page: str, text: str) -> None:
    assert text_of(page) == text


@pytest.mark.parametrize(
    ("page", "title"),
    [
        ("<head><title> My\n page &amp; I</title></head><h1>Heading</h1>", "My page & I"),
        ("<title> </title><p>x</p><h2>Second <i>level</i></h2><h1>First</h1>", "Second level"),
        ("<svg><title>picture</title></svg><h1></h1><h3>Later</h3>", "Later"),
        ("<title>T</title><svg><title>picture</title></svg><main><title>Second</title></main>", "T"),
        ("<h1>A<svg><title>picture</title></svg><script>no</script> heading</h1>", "A heading"),
        ("<main><svg><title>picture</title></svg><title>T</title></main>", "T"),
        ("<p>None", ""),
    ],
)
def test_title_is_the_title_element_or_the_first_heading(page: str, title: str) -> None:
    assert html_text(page.encode())[0] == title


@pytest.mark.parametrize("page", ["<title>T</title>{}", "<html><head><meta charset=utf-8><title>T</title></head>{}"])
@pytest.mark.parametrize(
    ("body", "text"),
    [
        (
            "<main><h1>Safety manual</h1><p>The valve opens at 9 bar.</main>",
            "Safety manual\n\nThe valve opens at 9 bar.",
        ),
        ("<article>Hello world</article> tail", "Hello world\n\ntail"),
        *(
            (
                f"<{tag}>One<style>p {{}}</style><script>no</script><title>no</title> two</{tag}><p>Three",
                "One two\n\nThree",
            )
            for tag in ("main", "article", "section", "header", "aside", "figure", "details", "div")
        ),
        ("<my-page><my-line>One</my-line></my-page><p>Two", "One\n\nTwo"),
        ("<nav>no</nav><section>One<footer>no</footer></section>", "One"),
        ("<noscript><p>no</p></noscript><template><p>no</template><article>One</article>", "One"),
    ],
)
def test_text_is_the_same_where_the_tags_of_html_head_and_body_are_left_out(page: str, body: str, text: str) -> None:
    for start, end in (("", ""), ("<body>", "</body></html>")):
        assert html_text(page.format(f"{start}{body}{end}").encode()) == ("T", text)


@settings(max_examples=100)
@given(paragraphs=st.lists(LETTERS.map(lambda text: " ".join(text.split())).filter(bool), min_size=1))
def test_paragraphs_come_back_with_blank_lines_between(paragraphs: list[str]) -> None:
    page = "".join(f"<p>{html.escape(paragraph)}</p>\n" for paragraph in paragraphs)
    assert text_of(page) == "\n\n".join(paragraphs)


@settings(max_examples=100)
@given(
    page=st.lists(
        st.sampled_from(
            "<p> </p> <div> </div> <b> </i> <pre> </pre> <td> <br> &amp; &#8364 <!-- --> <nav> </nav> é 😀 a b".split()
        )
        | st.sampled_from([" ", "\n"])
    ).map("".join),
    step=st.integers(1, 7),
)
def test_text_does_not_depend_on_where_the_page_is_cut_for_the_parser(page: str, step: int) -> None:
    whole = html_text(page.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(html_text_module, "_FEED_BYTES", step)
        assert html_text(page.encode()) == whole


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"caf\xc3\xa9", "café"),
        (b"\xef\xbb\xbfcaf\xc3\xa9", "café"),
        ("café".encode("utf-16"), "café"),
        (b"\xfe\xff" + "café".encode("utf-16-be"), "café"),
        (b"<meta charset=iso-8859-1>\x93caf\xe9\x94", "“café”"),
        (
            b'<META http-equiv="content-type" content="text/html; charset=windows-1251">' + "река".encode("cp1251"),
            "река",
        ),
        (b"<meta charset='Shift_JIS'>" + "東京①".encode("cp932"), "東京①"),
        (b"<meta charset=iso-2022-jp>" + "東京".encode("iso2022_jp"), "東京"),
        (b"<meta charset=gb2312>" + "東京".encode("gbk"), "東京"),
        # What is UTF-8 was meant so, whatever it declares.
        (b"<meta charset=iso-8859-1>caf\xc3\xa9", "café"),
    ],
)
def test_page_is_read_in_utf8_or_the_encoding_it_declares(data: bytes, text: str) -> None:
    assert html_text(data)[1] == text


@pytest.mark.parametrize(
    ("data", "reason", "message"),
    [
        (b"caf\xe9", "not_utf8", "not UTF-8: byte 0xe9 at offset 3 of the file: save it as UTF-8, for"),
        (b"<meta charset=bogus>\xe9", "not_utf8", "not UTF-8: byte 0xe9 at offset 20 of the file: save it as UTF-8"),
        (b"<meta charset=rot13>\xe9", "not_utf8", "not UTF-8: byte 0xe9 at offset 20 of the file: save it as UTF-8"),
        (b"<meta charset=euc-jp>\xff", "wrong_encoding", "neither UTF-8 nor euc_jp, as it declares: byte 0xff"),
        (b"\xff\xfea", "wrong_encoding", "neither UTF-8 nor utf-16-le, as its byte order mark says: byte 0x61"),
        ("<p>text".encode("utf-16-le"), "not_text", "byte 0 at offset 1 of the file, as in UTF-16"),
    ],
)
def test_page_in_no_known_encoding_is_refused(data: bytes, reason: str, message: str) -> None:
    with pytest.raises(BadRecord) as caught:
        html_text(data)
    assert caught.value.reason == reason
    assert caught.value.problem.startswith(message)


@pytest.mark.parametrize(
    "tag", ["div", "b", "p", "font", "table><tr><td", "ul><li", "a", "span", "blockquote", "svg", "select", "pre", "h1"]
)
def test_page_nested_100000_deep_is_read_or_refused_in_time(tag: str) -> None:
    begin = time.process_time()
    page = f"<{tag}>" * 100_000 + "deep"
    assert text_of(page) == ("" if tag in ("svg", "select") else "deep")
    assert time.process_time() - begin < 5


def test_page_that_wastes_time_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    page = "<span>" * 5_000 + "</b>" * 20_000
    assert text_of(page + "text") == "text"
    monkeypatch.setattr(html_text_module, "_MOST_LOOKS", 10_000_000)
    with pytest.raises(BadRecord, match=r"nested too deeply: 5,002 are open at once") as caught:
        text_of(page)
    assert caught.value.reason == "too_deep"


@pytest.mark.parametrize("piece", ["<p ", "<!--", "</b>", "&amp", "<![CDATA[", "<p a=1 a=2>", "<title>", "<b x='", "<"])
def test_a_megabyte_of_broken_markup_is_read_in_time(piece: str) -> None:
    begin = time.process_time()
    text_of(piece * (1_000_000 // len(piece)))
    assert time.process_time() - begin < 5

# Lends this machine to the Potluck coordinator @COORDINATOR@, until you interrupt the cell.
# It downloads THAT COORDINATOR'S PROGRAM and runs it here: go on only if you trust who runs it. One worker an account.
# @RULE@
RULES_CONFIRMED = False  # @SOURCE@
PIN, JOIN, FLAGS = "@PIN@", "@JOIN@", ["@FLAGS@"]  # its key  #: known
JOIN, FLAGS = "", ["@FLAGS@"]  #: any
import base64, contextlib, getpass, hashlib, http.client, importlib, json, os, ssl
def stop(sentence, kind=RuntimeError): raise kind(sentence.strip())
def digest(data): return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
def span(der, at):  # where the content of a certificate's number, sequence or version begins and ends  #: pinned
    size, begin = der[at + 1] if der[at] in (2, 48, 160) else stop("a forged key"), at + 2 + max(0, der[at + 1] - 128)  #: pinned
    return begin, begin + (size if size < 128 else int.from_bytes(der[at + 2 : begin], "big") or stop("a forged key"))  #: pinned
def get(path, **more):  # asks the first address that shows the coordinator's key; nothing is sent before it is checked
    for address in join[10:].partition("#")[0].split(","):
        try:
            web = http.client.HTTPSConnection(address, timeout=30, context=tls)
            web.connect()
            der = web.sock.getpeercert(True)  #: pinned
            at = span(der, span(der, 0)[0])[0]  # into the certificate, into what is signed: version (if any),  #: pinned
            for _ in range(5 + (der[at] == 0xA0)): at = span(der, at)[1]  # serial to subject; then the key  #: pinned
            digest(der[at : span(der, at)[1]]) == PIN or stop("another key: a portal's, or the cell is old", OSError)  #: keyed
            digest(der[at : span(der, at)[1]]) == join.partition("#")[2].split(".")[1] or stop("another key", OSError)  #: any
            web.request("GET", path, headers={"Authorization": "Bearer " + join.split("#")[1].split(".")[2], **more})
            answer = web.getresponse()
            answer.getheader("Potluck") or stop(f"HTTP {answer.status}, but from no coordinator", OSError)
            return answer if answer.status < 300 else stop(answer.read().decode())
        except (OSError, http.client.HTTPException) as error: why = f"{address}: {str(error)!a}"
    stop(f"{why}: is it running, are you online and logged in? Past an HTTP/2-only proxy install the wheel instead.")
try:
    with contextlib.suppress(Exception):  # not on Colab, or no such secret  #: colab
        JOIN = JOIN or importlib.import_module("google.colab.userdata").get("POTLUCK_JOIN")  #: colab
    with contextlib.suppress(Exception):  # not on Kaggle, or no such secret  #: kaggle
        JOIN = JOIN or importlib.import_module("kaggle_secrets").UserSecretsClient().get_secret("POTLUCK_JOIN")  #: kaggle
    join = (JOIN or os.environ.get("POTLUCK_JOIN") or getpass.getpass("Join string: ")).strip()
    digest(join.partition("#")[2][:-4].encode())[:4] == join[-4:] and f"#1.{PIN}." in join or stop(  #: known
        "the join string is cut short, mistyped or not of this cell's coordinator: copy the whole of it again")  #: known
    digest(join.partition("#")[2][:-4].encode())[:4] == join[-4:] and "#1.." not in join and "#1." in join or stop(  #: any
        "the join string is cut short, mistyped or without a key (which takes a cell made for it): copy all of it")  #: any
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE  # the key says who it is  #: pinned
    program = get("/bundle/cell.py").read()
    digest(program) == "@CELL@" or stop("this cell is out of date: make it anew")  #: unpinned
    exec(program, dict(globals()))
except Exception as error: print("potluck:", error if "join" in dir() else f"set the secret POTLUCK_JOIN ({error!r})")

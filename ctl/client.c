/* The environment's proxies are not used: an admin token has no business there.
 * See client.h. */
#include "ctl/client.h"

#include "base/assert.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum { POLL_MS = 1000, HEADERS_TEXT_MAX = 8192 };

/* --- endpoints ------------------------------------------------------------ */

void client_deinit(struct client *c)
{
    for (size_t i = 0; i < c->endpoint_count; i++)
        free(c->endpoints[i]);
    free(c->token);
    free(c->cacert);
    *c = (struct client){0};
}

/* Behind the host: an IPv6 address has colons within its brackets. */
static bool has_port(const char *address)
{
    const char *bracket = strchr(address, ']');
    return strchr(bracket != NULL ? bracket : address, ':') != NULL;
}

int client_add_endpoint(struct client *c, const char *address, struct errmsg *e)
{
    char text[URL_LENGTH_MAX + 1];
    bool has_scheme = strncmp(address, "http://", 7) == 0 ||
                      strncmp(address, "https://", 8) == 0;
    size_t length = strlen(address);
    while (length > 0 && address[length - 1] == '/')
        length--;
    /* A URL without a port means that of its scheme, perhaps of a proxy. */
    int n = snprintf(text, sizeof text, "%s%.*s%s", has_scheme ? "" : "http://",
                     (int)length, address,
                     has_scheme || has_port(address) ? "" : ":8000");
    if (n < 0 || (size_t)n >= sizeof text)
        return errmsg_set(e, ERR_INVALID,
                          "--endpoints: an address is longer than %d "
                          "characters",
                          URL_LENGTH_MAX);
    const char *host = strstr(text, "://");
    if (host == NULL || host[3] == '\0' || strpbrk(host + 3, "/ @?#") != NULL)
        return errmsg_set(e, ERR_INVALID,
                          "--endpoints %s: http://host:port or "
                          "https://host:port is wanted",
                          address);
    if (c->endpoint_count == ENDPOINTS_MAX)
        return errmsg_set(e, ERR_LIMIT, "more than %d endpoints",
                          ENDPOINTS_MAX);
    char *copy = strdup(text);
    if (copy == NULL)
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    c->endpoints[c->endpoint_count++] = copy;
    return 0;
}

int client_set_endpoints(struct client *c, const char *list, struct errmsg *e)
{
    char *copy = strdup(list), *rest = copy, *address;
    if (copy == NULL)
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    int rv = 0;
    while (rv == 0 && (address = strtok_r(rest, ", ", &rest)) != NULL)
        rv = client_add_endpoint(c, address, e);
    if (rv == 0 && c->endpoint_count == 0)
        rv = errmsg_set(e, ERR_INVALID,
                        "--endpoints is empty: http://host:port, "
                        "comma-separated, is wanted");
    free(copy);
    return rv;
}

bool path_escape(const char *text, char *out, size_t size)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
    size_t n = 0;
    for (; *text != '\0'; text++) {
        if (n + 4 > size)
            return false;
        if (strchr(plain, *text) != NULL)
            out[n++] = *text;
        else
            n += (size_t)snprintf(out + n, size - n, "%%%02X",
                                  (unsigned)(uint8_t)*text);
    }
    out[n] = '\0';
    return true;
}

/* --- one transfer --------------------------------------------------------- */

struct transfer {
    struct question *question;
    CURL *easy;                 /* owned */
    struct curl_slist *headers; /* owned */
    char *body;                 /* owned by jansson's allocator: free */
    char error[CURL_ERROR_SIZE];
};

static size_t take_text(char *data, size_t one, size_t size, void *arg)
{
    struct question *q = arg;
    (void)one;
    if (q->text.size + size > REPLY_SIZE_MAX)
        return 0;
    buf_put(&q->text, data, size);
    return buf_failed(&q->text) ? 0 : size;
}

static bool add_header(struct curl_slist **list, const char *text)
{
    struct curl_slist *longer = curl_slist_append(*list, text);
    if (longer == NULL)
        return false;
    *list = longer;
    return true;
}

static bool add_token(const struct client *c, struct curl_slist **list)
{
    char text[HEADERS_TEXT_MAX];
    if (c->token == NULL)
        return true;
    int n = snprintf(text, sizeof text, "Authorization: Bearer %s", c->token);
    return n > 0 && (size_t)n < sizeof text && add_header(list, text);
}

static void set_common(const struct client *c, CURL *easy, const char *url,
                       char *error)
{
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "holdfastctl/" HOLDFAST_VERSION);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, error);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                     c->timeout_ms < CONNECT_MS_MAX ? c->timeout_ms
                                                    : (long)CONNECT_MS_MAX);
    if (c->cacert != NULL)
        curl_easy_setopt(easy, CURLOPT_CAINFO, c->cacert);
}

/* False: out of memory. */
static bool transfer_begin(const struct client *c, struct transfer *t)
{
    struct question *q = t->question;
    char url[2 * URL_LENGTH_MAX];
    int n = snprintf(url, sizeof url, "%s%s", q->endpoint, q->path);
    ASSERT(n > 0 && (size_t)n < sizeof url);
    t->easy = curl_easy_init();
    if (t->easy == NULL || !add_token(c, &t->headers))
        return false;
    set_common(c, t->easy, url, t->error);
    curl_easy_setopt(t->easy, CURLOPT_TIMEOUT_MS, c->timeout_ms);
    curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, q->method);
    curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, take_text);
    curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, q);
    curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t);
    if (q->body != NULL || strcmp(q->method, "POST") == 0) {
        t->body =
            q->body != NULL ? json_dumps(q->body, JSON_COMPACT) : strdup("");
        if (t->body == NULL ||
            !add_header(&t->headers, "Content-Type: application/json"))
            return false;
        curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, t->body);
    }
    curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
    return true;
}

/* Says what an answer that is no success means for the operator. */
static void refuse(struct question *q)
{
    const char *msg = json_string_value(json_object_get(q->json, "msg"));
    const char *code = json_string_value(json_object_get(q->json, "code"));
    snprintf(q->code, sizeof q->code, "%s", code != NULL ? code : "");
    if (q->status == 401)
        snprintf(q->error, sizeof q->error,
                 "the node wants a valid admin token: --token-file FILE, or "
                 "HOLDFASTCTL_TOKEN");
    else if (msg != NULL)
        snprintf(q->error, sizeof q->error, "%s", msg);
    else
        snprintf(q->error, sizeof q->error, "HTTP status %ld", q->status);
}

/* What operators meet every day, in few words; curl's own ones otherwise. */
static void explain(CURL *easy, CURLcode result, const char *text,
                    struct question *q)
{
    char *out = q->error;
    size_t size = sizeof q->error;
    long error = 0;
    curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &error);
    if (result == CURLE_COULDNT_CONNECT)
        q->hint = "is holdfast-node running there, and is this its --http-bind "
                  "address, port 8000 by default?";
    if (result == CURLE_COULDNT_CONNECT && error != 0)
        snprintf(out, size, "%s", strerror((int)error));
    else if (result == CURLE_OPERATION_TIMEDOUT)
        snprintf(out, size, "no answer in time");
    else if (result == CURLE_COULDNT_RESOLVE_HOST)
        snprintf(out, size, "the host name does not resolve");
    else if (result == CURLE_SSL_CONNECT_ERROR &&
             strstr(text, "wrong version number") != NULL)
        snprintf(out, size,
                 "it speaks no TLS there: http:// instead of https://?");
    else if (result == CURLE_UNSUPPORTED_PROTOCOL ||
             result == CURLE_GOT_NOTHING)
        snprintf(out, size,
                 "no answer in HTTP: is this the HTTP port, 8000 by default, "
                 "and http:// or https:// the right one?");
    else if (result == CURLE_PEER_FAILED_VERIFICATION)
        snprintf(out, size,
                 "%s; --cacert FILE (or HOLDFASTCTL_CACERT) names the CA that "
                 "made the node's certificate",
                 text[0] != '\0' ? text : curl_easy_strerror(result));
    else
        snprintf(out, size, "%s",
                 text[0] != '\0' ? text : curl_easy_strerror(result));
}

static void transfer_end(struct transfer *t, CURLcode result)
{
    struct question *q = t->question;
    curl_off_t took_us = 0;
    curl_easy_getinfo(t->easy, CURLINFO_TOTAL_TIME_T, &took_us);
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &q->status);
    q->took_ms = (double)took_us / 1000;
    if (result != CURLE_OK) {
        /* After the TLS handshake, before the request. */
        curl_easy_getinfo(t->easy, CURLINFO_PRETRANSFER_TIME_T, &took_us);
        q->status = 0;
        q->unsent = took_us == 0;
        explain(t->easy, result, t->error, q);
        return;
    }
    buf_put_u8(&q->text, '\0');
    if (buf_failed(&q->text)) {
        snprintf(q->error, sizeof q->error, "out of memory");
        return;
    }
    q->text.size--;
    q->json = json_loadb((const char *)q->text.data, q->text.size,
                         JSON_DECODE_ANY, NULL);
    if (q->status < 200 || q->status > 299)
        refuse(q);
}

static void transfer_free(struct transfer *t)
{
    curl_easy_cleanup(t->easy);
    curl_slist_free_all(t->headers);
    free(t->body);
}

/* --- many at once --------------------------------------------------------- */

static void harvest(CURLM *multi)
{
    int left;
    CURLMsg *m;
    while ((m = curl_multi_info_read(multi, &left)) != NULL) {
        char *t = NULL;
        if (m->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t);
        transfer_end((struct transfer *)(void *)t, m->data.result);
    }
}

void client_ask(const struct client *c, struct question *questions,
                size_t count)
{
    struct transfer transfers[ENDPOINTS_MAX] = {{0}};
    ASSERT(count <= ENDPOINTS_MAX);
    CURLM *multi = curl_multi_init();
    for (size_t i = 0; i < count; i++) {
        struct transfer *t = &transfers[i];
        t->question = &questions[i];
        if (multi == NULL || !transfer_begin(c, t) ||
            curl_multi_add_handle(multi, t->easy) != CURLM_OK) {
            questions[i].unsent = true;
            snprintf(questions[i].error, sizeof questions[i].error,
                     "out of memory");
        }
    }
    int running = multi != NULL ? 1 : 0;
    while (running > 0) {
        if (curl_multi_perform(multi, &running) != CURLM_OK)
            break;
        if (running > 0)
            curl_multi_poll(multi, NULL, 0, POLL_MS, NULL);
    }
    if (multi != NULL)
        harvest(multi);
    for (size_t i = 0; i < count; i++) {
        if (multi != NULL && transfers[i].easy != NULL)
            curl_multi_remove_handle(multi, transfers[i].easy);
        transfer_free(&transfers[i]);
    }
    curl_multi_cleanup(multi);
}

void question_deinit(struct question *q)
{
    json_decref(q->json);
    buf_deinit(&q->text);
    q->json = NULL;
}

int question_fail(const struct question *q, struct errmsg *e)
{
    int code = q->status == 0     ? ERR_CLOSED
               : q->status == 404 ? ERR_NOTFOUND
               : q->status == 409 ? ERR_DENIED
               : q->status == 503 ? ERR_AGAIN
                                  : ERR_IO;
    return errmsg_set(e, code, "%s: %s%s%s", q->endpoint, q->error,
                      q->hint != NULL ? "; " : "",
                      q->hint != NULL ? q->hint : "");
}

/* --- any node ------------------------------------------------------------- */

/* Nothing was done there, and another node may well do it. */
static bool may_go_on(const struct question *q)
{
    return q->unsent || (q->status == 503 && strcmp(q->code, "no_leader") == 0);
}

static int ask_any(const struct client *c, struct question model, bool change,
                   json_t **out, const char **asked, struct errmsg *e)
{
    int rv = ERR_CLOSED;
    for (size_t i = 0; i < c->endpoint_count; i++) {
        struct question q = model;
        q.endpoint = c->endpoints[i];
        client_ask(c, &q, 1);
        bool ok = question_ok(&q);
        bool next = change ? may_go_on(&q) : q.status == 0 || q.status >= 500;
        if (change && q.status == 0 && !q.unsent)
            q.hint = "it may have been done: look before you repeat it";
        rv = ok ? 0 : question_fail(&q, e);
        if (ok && out != NULL) {
            *out = q.json;
            q.json = NULL;
            if (*out == NULL)
                rv = errmsg_set(e, ERR_CORRUPT,
                                "%s%s answers, but not in JSON: is this a "
                                "Holdfast node's HTTP address?",
                                q.endpoint, q.path);
        }
        question_deinit(&q);
        if (asked != NULL)
            *asked = c->endpoints[i];
        if (ok || !next)
            return rv;
    }
    if (c->endpoint_count > 1)
        return errmsg_wrap(e, rv, "none of %zu endpoints can do it; the last",
                           c->endpoint_count);
    return rv;
}

int client_get(const struct client *c, const char *path, json_t **out,
               const char **asked, struct errmsg *e)
{
    struct question q = {.method = "GET", .path = path};
    return ask_any(c, q, false, out, asked, e);
}

int client_change(const struct client *c, const char *method, const char *path,
                  const json_t *body, json_t **out, struct errmsg *e)
{
    struct question q = {.method = method, .path = path, .body = body};
    return ask_any(c, q, true, out, NULL, e);
}

/* --- downloads ------------------------------------------------------------ */

struct receiver {
    const struct download *download;
    CURL *easy;         /* borrowed */
    struct buf refusal; /* the body of an answer that is no 200 */
};

static size_t take_piece(char *data, size_t one, size_t size, void *arg)
{
    struct receiver *r = arg;
    long status = 0;
    (void)one;
    curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status == 200)
        return r->download->take(r->download->arg, data, size) ? size : 0;
    if (r->refusal.size + size < HEADERS_TEXT_MAX)
        buf_put(&r->refusal, data, size);
    return size;
}

static size_t take_header(char *data, size_t one, size_t size, void *arg)
{
    struct receiver *r = arg;
    char line[1024];
    (void)one;
    snprintf(line, sizeof line, "%.*s", (int)(size < 1000 ? size : 1000), data);
    char *colon = strchr(line, ':');
    if (colon == NULL)
        return size;
    *colon = '\0';
    char *value = colon + 1 + strspn(colon + 1, " \t");
    value[strcspn(value, " \t\r\n")] = '\0';
    r->download->header(r->download->arg, line, value);
    return size;
}

static int tick(void *arg, curl_off_t total, curl_off_t now,
                curl_off_t up_total, curl_off_t up_now)
{
    struct receiver *r = arg;
    (void)total;
    (void)now;
    (void)up_total;
    (void)up_now;
    r->download->tick(r->download->arg);
    return 0;
}

int client_download(const struct client *c, const struct download *d,
                    struct errmsg *e)
{
    char url[2 * URL_LENGTH_MAX], error[CURL_ERROR_SIZE] = "";
    struct curl_slist *headers = NULL;
    struct receiver r = {.download = d, .easy = curl_easy_init()};
    struct question q = {.endpoint = d->endpoint, .path = d->path};
    int rv = 0;
    if (r.easy == NULL || !add_token(c, &headers)) {
        rv = errmsg_set(e, ERR_NOMEM, "out of memory");
        goto out;
    }
    snprintf(url, sizeof url, "%s%s", d->endpoint, d->path);
    set_common(c, r.easy, url, error);
    curl_easy_setopt(r.easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(r.easy, CURLOPT_LOW_SPEED_TIME, (long)QUIET_S_MAX);
    curl_easy_setopt(r.easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(r.easy, CURLOPT_WRITEFUNCTION, take_piece);
    curl_easy_setopt(r.easy, CURLOPT_WRITEDATA, &r);
    curl_easy_setopt(r.easy, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(r.easy, CURLOPT_HEADERDATA, &r);
    curl_easy_setopt(r.easy, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(r.easy, CURLOPT_XFERINFOFUNCTION, tick);
    curl_easy_setopt(r.easy, CURLOPT_XFERINFODATA, &r);
    CURLcode result = curl_easy_perform(r.easy);
    curl_easy_getinfo(r.easy, CURLINFO_RESPONSE_CODE, &q.status);
    if (result != CURLE_OK) {
        explain(r.easy, result, error, &q);
        rv = question_fail(&q, e);
    } else if (q.status != 200) {
        q.json =
            json_loadb((const char *)r.refusal.data, r.refusal.size, 0, NULL);
        refuse(&q);
        rv = question_fail(&q, e);
        question_deinit(&q);
    }
out:
    buf_deinit(&r.refusal);
    curl_slist_free_all(headers);
    curl_easy_cleanup(r.easy);
    return rv;
}

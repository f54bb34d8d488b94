# ruff: noqa: E501
"""Small logs in the formats of real services, one with every trait that the analyst has to cope with."""

SSHD = """\
Nov 22 09:18:01 gate01 sshd[2101]: Server listening on 127.0.0.1 port 2222.
Nov 22 09:18:05 gate01 sshd[2110]: Invalid user ghost from 10.20.1.31 port 41022
Nov 22 09:18:05 gate01 sshd[2110]: Failed password for invalid user ghost from 10.20.1.31 port 41022 ssh2
Nov 22 09:18:07 gate01 sshd[2110]: Connection closed by invalid user ghost 10.20.1.31 port 41022 [preauth]
Nov 22 09:18:11 gate01 sshd[2112]: Invalid user oracle from 10.20.1.31 port 41030
Nov 22 09:18:11 gate01 sshd[2112]: Failed password for invalid user oracle from 10.20.1.31 port 41030 ssh2
Nov 22 09:18:13 gate01 sshd[2112]: Connection closed by invalid user oracle 10.20.1.31 port 41030 [preauth]
Nov 22 09:18:40 gate01 sshd[2120]: Accepted password for alice from 10.20.1.33 port 50112 ssh2
Nov 22 09:18:40 gate01 sshd[2120]: pam_unix(sshd:session): session opened for user alice(uid=2001) by alice(uid=0)
Nov 22 09:19:02 gate01 sshd[2120]: Received disconnect from 10.20.1.33 port 50112:11: disconnected by user
Nov 22 09:19:02 gate01 sshd[2120]: pam_unix(sshd:session): session closed for user alice
Nov 22 09:19:44 gate01 sshd[2131]: error: maximum authentication attempts exceeded for root from 10.20.1.40 port 3022 ssh2
"""
NGINX = """\
2026/11/22 10:01:10 [notice] 311#311: using the "epoll" event method
2026/11/22 10:01:10 [notice] 311#311: start worker processes
2026/11/22 10:02:20 [error] 312#312: *7 connect() failed (111: Connection refused) while connecting to upstream, client: 10.20.1.34, server: shop.test, request: "GET /cart HTTP/1.1", upstream: "http://127.0.0.1:8081/cart", host: "shop.test"
2026/11/22 10:02:21 [error] 312#312: *9 connect() failed (111: Connection refused) while connecting to upstream, client: 10.20.1.35, server: shop.test, request: "GET /pay HTTP/1.1", upstream: "http://127.0.0.1:8081/pay", host: "shop.test"
2026/11/22 10:02:29 [error] 312#312: *11 open() "/srv/www/favicon.ico" failed (2: No such file or directory), client: 10.20.1.34, server: shop.test
2026/11/22 10:02:31 [crit] 312#312: *15 pwrite() "/srv/cache/00001" failed (28: No space left on device), client: 10.20.1.36
2026/11/22 10:02:55 [warn] 312#312: *18 a client request body is buffered to a temporary file /srv/tmp/0000000002
2026/11/22 10:03:55 [notice] 311#311: signal process started
2026/11/22 10:03:56 [emerg] 340#340: bind() to 127.0.0.1:8080 failed (98: Address already in use)
2026/11/22 10:03:57 [emerg] 341#341: unknown directive "prxy_pass" in /srv/nginx/bad.conf:12
"""
ACCESS = "\n".join(
    f'10.20.1.{31 + number % 3} - - [22/Nov/2026:11:00:{number:02d} +0000] "GET /item/{number} HTTP/1.1" {status} {size}'
    f' "-" "curl/8.5"'
    for number, (status, size) in enumerate([(200, 512), (200, 480), (404, 153), (502, 157), (200, 512)] * 4)
)
POSTGRES = """\
2026-11-22 08:00:00.101 UTC [900] LOG:  starting PostgreSQL 17.2
2026-11-22 08:00:00.140 UTC [900] LOG:  database system is ready to accept connections
2026-11-22 08:00:04.020 UTC [931] shop@shop ERROR:  duplicate key value violates unique constraint "users_email_key"
2026-11-22 08:00:04.020 UTC [931] shop@shop DETAIL:  Key (email)=(a@b.test) already exists.
2026-11-22 08:00:04.020 UTC [931] shop@shop STATEMENT:  INSERT INTO users(email) VALUES ('a@b.test')
2026-11-22 08:00:14.020 UTC [933] bruno@shop FATAL:  password authentication failed for user "bruno"
2026-11-22 08:00:24.020 UTC [934] shop@shop LOG:  duration: 5004.310 ms  statement: SELECT pg_sleep(5)
2026-11-22 08:00:34.020 UTC [900] LOG:  server process (PID 934) was terminated by signal 9: Killed
2026-11-22 08:00:34.021 UTC [900] LOG:  terminating any other active server processes
2026-11-22 08:00:34.900 UTC [900] LOG:  database system was not properly shut down; automatic recovery in progress
2026-11-22 08:00:36.000 UTC [900] LOG:  database system is ready to accept connections
"""
APP = """\
2026-11-22 07:10:00,000 INFO shop.web: request GET /orders
2026-11-22 07:10:00,120 ERROR shop.web: request failed
Traceback (most recent call last):
  File "/srv/shop/web.py", line 41, in handle
    return orders(connection)
  File "/srv/shop/orders.py", line 12, in orders
    raise KeyError(name)
KeyError: 'total'
2026-11-22 07:10:03,000 INFO shop.web: request GET /items
2026-11-22 07:10:06,000 INFO shop.web: request GET /items
2026-11-22 07:10:09,000 INFO shop.web: request GET /items
2026-11-22 07:10:12,000 INFO shop.web: request GET /items
2026-11-22 07:10:12,500 WARNING shop.cache: cache is 93 % full
"""
CALM = "\n".join(
    f"1763800000.{number}: New client connected from 10.20.1.4{number % 2} as sensor{number}" for number in range(12)
)
PLAIN = "hello\n\nwörld `tick` \u2603\nhello\n\thello again  \nこんにちは 世界\nhello\n"

LOGS = {
    "sshd": SSHD, "nginx-error": NGINX, "nginx-access": ACCESS, "postgresql": POSTGRES, "shop": APP, "mqtt": CALM, "plain": PLAIN,
}  # fmt: skip

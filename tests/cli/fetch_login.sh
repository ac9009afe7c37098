#!/bin/bash
# fetch_login.sh BIN -- who asks and by which way: credentials, certificates, proxies of ttt-fetch.
# shellcheck source=tests/faults/harness.bash
source "$(dirname "$0")/../faults/harness.bash"

# ---- credentials -------------------------------------------------------------------------------

openssl genrsa -out rsa.pem 2048 2>/dev/null
openssl rsa -in rsa.pem -pubout -out rsa.pub 2>/dev/null
openssl genrsa -out other.pem 2048 2>/dev/null
key() { printf '{"type":"service_account","client_email":"robot@test.iam.gserviceaccount.com","private_key_id":"test-key","private_key":"%s","token_uri":"http://%s/token"}' "$(awk '{ printf "%s\\n", $0 }' "$1")" "$host"; }
key rsa.pem >key.json
key other.pem >wrong.json
printf '{"type":"authorized_user","client_id":"id&x","client_secret":"secret=1","refresh_token":"refresh/2","quota_project_id":"quota-1","token_uri":"http://%s/token"}' "$host" >user.json
for bucket in pays secret; do control put "{\"bucket\":\"$bucket\",\"name\":\"${bucket:0:1}\",\"text\":\"for some\"}"; done
control put '{"bucket":"pays","name":"x","text":"paid"}'
control bucket '{"bucket":"pays","requester_pays":true}'
control bucket '{"bucket":"secret","private":true}'
control auth "{\"public_key\":\"$work/rsa.pub\"}"

case_is 'a service account: RS256' 0 '1 objects' 3 0 '!out=pays/x' --key key.json -u payer gs://pays/x out
case_is 'a key that does not fit' 1 'the key wrong.json: no token: status 400: invalid_grant: the signature is wrong' 1 0 '!' --key wrong.json gs://bkt/a.txt out
case_is 'an authorised user' 0 '1 objects' 3 0 '!out=pays/x' --key user.json -u payer gs://pays/x out
case_is 'requester pays, no project: the command to run' 1 \
    "told a project to bill; run: ttt-fetch --project=quota-1 --retry-delay 0.02 --key user.json -r 'gs://pays/\*' out" 2 0 '!' --key user.json -r 'gs://pays/*' out
export TTT_BILLING_PROJECT=payer
case_is 'TTT_BILLING_PROJECT' 0 '1 objects' 3 0 '!out=pays/x' --key key.json gs://pays/x out
unset TTT_BILLING_PROJECT
export GCS_REQUESTER_PAYS_PROJECT=payer
case_is 'GCS_REQUESTER_PAYS_PROJECT' 0 '1 objects' 3 0 '!out=pays/x' --key key.json gs://pays/x out
unset GCS_REQUESTER_PAYS_PROJECT
GOOGLE_CLOUD_PROJECT=payer case_is 'GOOGLE_CLOUD_PROJECT is not taken' 1 'told a project to bill' 2 0 '!' --key key.json gs://pays/x out
case_is 'a project that may not be billed' 1 'role Service Usage Consumer is missing; run: gcloud projects add-iam-policy-binding forbidden-project --member=serviceAccount:robot@test.iam.gserviceaccount.com --role=roles/serviceusage' 2-3 0 '!' \
    --key key.json -u forbidden-project gs://bkt/a.txt gs://bkt/b.txt out
case_is 'a token command' 0 '1 objects' 2 0 '!out=secret/s' --token-command 'echo fixed-token' gs://secret/s out
case_is 'a token command that fails' 1 "the token command 'false' failed" 0 0 '!' --token-command false gs://bkt/a.txt out
case_is 'a token command that prints two words' 1 'did not print a token' 0 0 '!' --token-command 'echo a b' gs://bkt/a.txt out
case_is 'a token that is refused' 1 'credentials of the token command were refused: Invalid Credentials; run: gcloud auth' 2 0 '!' --token-command 'echo bad' gs://bkt/a.txt out
control auth '{"refused":1}'
case_is 'a 401 is answered with a new token' 0 '1 objects' 5 0 '!out=bkt/a.txt' --key key.json gs://bkt/a.txt out
control auth '{"lifetime":2}'
script '{"path":"alt=media","do":"slow","rate":8000000,"times":-1}'
case_is 'tokens are renewed before they expire' 0 '1 objects, 20.0 MB' 6-9 0 '!out=bkt/big' -j 1 --key key.json gs://bkt/big out
control auth '{"lifetime":3600}'
echo '{"type":"external_account"}' >external.json
echo 'not json' >broken.json
case_is 'a key of another type' 1 'external.json: credentials of type "external_account"' 0 0 '!' --key external.json gs://bkt/a.txt out
case_is 'a key that is no JSON' 1 'broken.json: not JSON: line 1' 0 0 '!' --key broken.json gs://bkt/a.txt out
case_is 'a key that is not there' 1 'none.json: No such file' 0 0 '!' --key none.json gs://bkt/a.txt out
sed 's/BEGIN/BEGINN/' key.json >pem.json
sed 's,http://[^"]*/token,http://192.0.2.1/token,' key.json >plain.json
case_is 'a key whose secret would travel in plain' 1 'plain.json: its token_uri is http://192.0.2.1/token, but secrets are sent over https' 0 0 '!' --key plain.json gs://bkt/a.txt out
case_is 'a key without a key' 1 'pem.json: its "private_key" is not an RSA key' 0 0 '!' --key pem.json gs://bkt/a.txt out
case_is '--anonymous and --key' 2 'leave out --key' 0 0 '!' --anonymous --key key.json gs://bkt/a.txt out
script '{"path":"/b/bkt/o/a.txt.*alt=media","do":"redirect","to":"http://localhost:'"${host#*:}"'/web/r"}'
control put '{"bucket":"web","name":"r","text":"first"}'
case_is 'a redirect is followed' 0 '1 objects' 4 0 '!out=bkt/a.txt' --key key.json gs://bkt/a.txt out
script '{"path":"/b/bkt/o/a.txt.*alt=media","do":"redirect","to":"http://localhost:'"${host#*:}"'/web/r"}'
control forget ''
fetch -q --key key.json gs://bkt/a.txt out
if curl -sf "http://$host/control/log" | grep -q '"path": "/web/r".*"authorization": "", "acc.*localhost'; then
    ok 'but the token does not go to another host'
else bad 'but the token does not go to another host' "$(curl -sf "http://$host/control/log")"; fi
control reset ''
rm -f out
GOOGLE_APPLICATION_CREDENTIALS=$work/user.json GCS_OAUTH_TOKEN=fixed-token \
    case_is 'STORAGE_EMULATOR_HOST: no credentials but those of a flag' 1 'not open to everybody' 1 0 '!' gs://secret/s out
unset STORAGE_EMULATOR_HOST
endpoint=(--endpoint "http://$host/")
export GCE_METADATA_HOST=127.0.0.1:1
case_is 'no metadata server' 1 "this machine's service account: no token: .*onnect" 0 0 '!' gs://bkt/a.txt out
export GCE_METADATA_HOST=$host
case_is 'the metadata server' 0 '1 objects' 3 0 '!out=secret/s' gs://secret/s out
export GOOGLE_APPLICATION_CREDENTIALS=$work/user.json
case_is 'GOOGLE_APPLICATION_CREDENTIALS comes first' 0 '1 objects' 3 0 '!out=secret/s' gs://secret/s out
unset GOOGLE_APPLICATION_CREDENTIALS
mkdir -p home/.config/gcloud
cp user.json home/.config/gcloud/application_default_credentials.json
case_is "gcloud's default credentials" 0 '1 objects' 3 0 '!out=secret/s' gs://secret/s out
export CLOUDSDK_CONFIG=$work/config
mkdir config
case_is 'CLOUDSDK_CONFIG is another folder for them' 0 '1 objects' 3 0 '!out=secret/s' gs://secret/s out
echo broken >config/application_default_credentials.json
case_is 'and comes before the home' 1 'config/application_default_credentials.json: not JSON' 0 0 '!' gs://secret/s out
unset CLOUDSDK_CONFIG
export GOOGLE_APPLICATION_CREDENTIALS=$work/user.json CLOUDSDK_AUTH_ACCESS_TOKEN=fixed-token
case_is 'CLOUDSDK_AUTH_ACCESS_TOKEN comes before files' 0 '1 objects' 2 0 '!out=secret/s' gs://secret/s out
GCS_OAUTH_TOKEN=bad case_is 'GCS_OAUTH_TOKEN comes before it, and cannot be renewed' 1 'credentials of the token in GCS_OAUTH_TOKEN were refused' 2 0 '!' gs://secret/s out
case_is '--key comes before tokens' 0 '1 objects' 3 0 '!out=secret/s' --key key.json gs://secret/s out
case_is '--token-command comes first' 0 '1 objects' 2 0 '!out=secret/s' --key broken.json --token-command 'echo fixed-token' gs://secret/s out
case_is '--anonymous comes before all' 1 'not open to everybody' 1 0 '!' --anonymous gs://secret/s out
unset GOOGLE_APPLICATION_CREDENTIALS CLOUDSDK_AUTH_ACCESS_TOKEN
rm -r home/.config
export GOOGLE_CLOUD_QUOTA_PROJECT=quota-2
case_is 'GOOGLE_CLOUD_QUOTA_PROJECT is proposed, not billed' 1 'run: ttt-fetch --project=quota-2' 2 0 '!' --key key.json gs://pays/x out
unset GOOGLE_CLOUD_QUOTA_PROJECT
control auth '{"refused":1}'
case_is 'a token is not told of, even with -v' 0 'a.txt: 5B to' 5 0 '!out=bkt/a.txt' -v --key key.json gs://bkt/a.txt out
case_is 'credentials never go over http elsewhere' 1 'credentials are sent over https:// only' 0 0 '!' --endpoint http://192.0.2.1 gs://bkt/a.txt out
unset GCE_METADATA_HOST
export STORAGE_EMULATOR_HOST=$host
endpoint=()

# ---- certificates ------------------------------------------------------------------------------

# An authority of our own; a server that it vouches for by the address 127.0.0.1, not as localhost.
mkdir tls ca
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca/ca.crt -days 2 -subj '/CN=test authority' 2>openssl.log
openssl req -newkey rsa:2048 -nodes -keyout tls.key -out tls.csr -subj /CN=server 2>>openssl.log
openssl x509 -req -in tls.csr -CA ca/ca.crt -CAkey ca.key -CAcreateserial -days 2 -out tls.crt \
    -extfile <(echo 'subjectAltName=IP:127.0.0.1') 2>>openssl.log
openssl rehash ca
$python "$here/tests/faults/server.py" tls --tls tls.crt tls.key >tls.log 2>&1 &
more+=($!)
for _ in {1..100}; do [[ -e tls/port ]] && break; sleep 0.1; done
plain=$base
base=https://127.0.0.1:$(<tls/port) trust=(--cacert ca/ca.crt)
control put '[{"bucket":"bkt","name":"big","size":20000001,"seed":7},{"bucket":"web","name":"w","size":9000000,"seed":8}]'
control bucket '{"bucket":"bkt","private":true}'
endpoint=(--endpoint "$base" --token-command 'echo fixed-token')
case_is 'a certificate that nobody here vouches for' 1 'gs://bkt/big: .*certificate' 0 0 '!' gs://bkt/big out
if grep -q 'in a row' stderr; then bad 'and that is final'; else ok 'and that is final'; fi
for trusted in CURL_CA_BUNDLE=ca/ca.crt SSL_CERT_FILE=ca/ca.crt SSL_CERT_DIR=ca; do
    export "${trusted?}"
    case_is "ranges over TLS with $trusted" 0 '1 objects' 6 0 '!out=bkt/big' -j 4 gs://bkt/big out
    unset "${trusted%%=*}"
done
export CURL_CA_BUNDLE=$work/ca/ca.crt
case_is 'an https:// source' 0 '1 objects' 4 any '!out/w=web/w' -j 2 "$base/web/w" out/
case_is 'a folder over TLS' 0 '1 objects' 6 0 '!out/bkt/big=bkt/big' -r gs://bkt out
endpoint=(--endpoint "https://localhost:$(<tls/port)" --token-command 'echo fixed-token')
case_is 'the certificate of another host' 1 "gs://bkt/big: .*(certificate|SSL).*localhost" 0 0 '!' gs://bkt/big out
case_is 'the same for an https:// source' 1 "web/w: .*(certificate|SSL).*localhost" 0 0 '!' "https://localhost:$(<tls/port)/web/w" out

# ---- proxies -----------------------------------------------------------------------------------

# The other server is the proxy; it sees the tunnels, and in them nothing.
endpoint=(--endpoint "$base" --token-command 'echo fixed-token')
secure=$base base=$plain
export https_proxy=$plain
KEEP=1 case_is 'a proxy for https://' 0 '1 objects' 1-8 0 '' -j 2 gs://bkt/big out
base=$secure
if good out bkt/big; then ok 'and the bytes are right'; else bad 'and the bytes are right'; fi
rm -f out
base=$plain
no_proxy=127.0.0.1 case_is 'no_proxy' 0 '1 objects' 0 0 '' gs://bkt/big out
https_proxy=http://127.0.0.1:1 case_is 'a proxy that is not there' 1 '127.0.0.1 port 1.*in a row' 0 0 '!' --retries 1 gs://bkt/big out
unset https_proxy CURL_CA_BUNDLE
trust=()
control put '{"bucket":"bkt","name":"a.txt","text":"first"}'
endpoint=()
export http_proxy=$plain STORAGE_EMULATOR_HOST=127.0.0.2:1
case_is 'a proxy for http://' 0 '1 objects' 2 0 '!out=bkt/a.txt' gs://bkt/a.txt out
case_is 'but a token goes to this machine itself' 1 '127.0.0.2 port 1.*in a row' 0 0 '!' --retries 1 --token-command 'echo fixed-token' gs://bkt/a.txt out
unset http_proxy STORAGE_EMULATOR_HOST

closing_line

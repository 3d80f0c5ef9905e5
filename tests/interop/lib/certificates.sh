# Certificates for the suites that connect over TLS, made anew for each run. Sourced; it owns the files, and
# what a broker is told of them.
#
#   authority.pem           who stands behind the broker's certificate and the client's
#   server.pem server.key   the broker's, for 127.0.0.1 and localhost
#   client.pem client.key   the one of a client whose common name is the user guest; client.p12 is both, for Java
#   stranger.pem            another authority, which a client that looks must not take for this one

CERTIFICATES_PASSWORD=hare # of client.p12; Java wants one

# Makes all of them, or fails with the reason in FOLDER/openssl.log.
make_certificates() { # folder
    mkdir -p "$1"
    (
        set -e
        cd "$1"
        new_key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 2)
        by_authority=(-CA authority.pem -CAkey authority.key)
        authority_only=(-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign)
        end_entity=(-addext basicConstraints=critical,CA:FALSE -addext keyUsage=critical,digitalSignature)
        # Without the defaults of the machine's own file, which would say twice what is said here.
        printf '[req]\ndistinguished_name = subject\n[subject]\n' >openssl.cnf
        export OPENSSL_CONF=$PWD/openssl.cnf
        openssl req -x509 "${new_key[@]}" "${authority_only[@]}" -subj "/CN=Interop" -keyout authority.key -out authority.pem
        openssl req -x509 "${new_key[@]}" "${authority_only[@]}" -subj "/CN=Stranger" -keyout stranger.key -out stranger.pem
        openssl req -x509 "${new_key[@]}" "${end_entity[@]}" "${by_authority[@]}" -subj "/CN=localhost" \
            -addext extendedKeyUsage=serverAuth -addext "subjectAltName=DNS:localhost,IP:127.0.0.1" \
            -keyout server.key -out server.pem
        openssl req -x509 "${new_key[@]}" "${end_entity[@]}" "${by_authority[@]}" -subj "/CN=guest" \
            -addext extendedKeyUsage=clientAuth -keyout client.key -out client.pem
        openssl pkcs12 -export -in client.pem -inkey client.key -passout "pass:$CERTIFICATES_PASSWORD" -out client.p12
    ) >"$1/openssl.log" 2>&1
}

# The lines of a broker's configuration file with which it serves AMQP over TLS and takes the name of a certificate for a
# user's. Nobody has to have one.
tls_settings() { # folder port
    cat <<SETTINGS
tls_listen = ["127.0.0.1:$2"]
auth_mechanisms = ["PLAIN", "AMQPLAIN", "EXTERNAL"]
ssl_cert_login_from = "common_name"
[tls]
certfile = "$1/server.pem"
keyfile = "$1/server.key"
cacertfile = "$1/authority.pem"
verify = "verify_peer"
SETTINGS
}

package interop

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// The tests of this file are a suite of their own: they need a broker that speaks TLS, and certificates.

func certificate(t *testing.T, name string) string {
	t.Helper()
	return filepath.Join(os.Getenv("INTEROP_TLS"), name)
}

func tlsURL() string {
	return "amqps://guest:guest@127.0.0.1:" + os.Getenv("AMQPS_PORT") + "/%2f"
}

func trusting(t *testing.T, authority string) *tls.Config {
	t.Helper()
	pool := x509.NewCertPool()
	equal(t, pool.AppendCertsFromPEM(must[[]byte](t)(os.ReadFile(certificate(t, authority)))), true)
	return &tls.Config{RootCAs: pool}
}

func exchange(t *testing.T, connection *amqp.Connection, user string) {
	t.Helper()
	t.Cleanup(func() { connection.Close() })
	ch := channel(t, connection)
	no(t, ch.Confirm(false))
	queue := temporaryQueue(t, ch)
	large := make([]byte, 1<<20) // many records of TLS
	rand.Read(large)
	confirmed := func(body []byte) {
		t.Helper()
		message := amqp.Publishing{Body: body, UserId: user}
		ctx := context.Background()
		confirmation := must[*amqp.DeferredConfirmation](t)(
			ch.PublishWithDeferredConfirmWithContext(ctx, "", queue, true, false, message))
		equal(t, must[bool](t)(confirmation.WaitContext(ctx)), true)
	}
	confirmed([]byte("got"))
	got, found, err := ch.Get(queue, true)
	no(t, err)
	equal(t, found, true)
	equal(t, string(got.Body), "got")
	confirmed(large)
	equal(t, bytes.Equal(receive(t, consume(t, ch, queue, "", true)).Body, large), true)
}

func TestTLSConfirmGetAndConsume(t *testing.T) {
	exchange(t, must[*amqp.Connection](t)(amqp.DialTLS(tlsURL(), trusting(t, "authority.pem"))), "")
}

func TestTLSStrangersCertificateIsRefused(t *testing.T) {
	_, err := amqp.DialTLS(tlsURL(), trusting(t, "stranger.pem"))
	var unknown x509.UnknownAuthorityError
	equal(t, errors.As(err, &unknown), true)
}

func TestTLSExternal(t *testing.T) {
	config := trusting(t, "authority.pem")
	config.Certificates = []tls.Certificate{must[tls.Certificate](t)(
		tls.LoadX509KeyPair(certificate(t, "client.pem"), certificate(t, "client.key")))}
	exchange(t, must[*amqp.Connection](t)(amqp.DialTLS_ExternalAuth(tlsURL(), config)), "guest")
}

package redistest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TLS is a port of a server that speaks TLS, beside its plain one, with a
// self-signed certificate for localhost that serves clients as well.
type TLS struct {
	Port      int
	Cert, Key string // PEM files; Cert is its own authority
	Pool      *x509.CertPool
	Pair      []tls.Certificate
	clients   string // what the server wants of clients
}

// NewTLS makes a certificate for a server whose Options.TLS it becomes. With
// clientCertificates the server lets nobody in without one.
func NewTLS(t testing.TB, clientCertificates bool) *TLS {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	template := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"localhost"},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &private.PublicKey, private)
	must(err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	must(err)
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	k := &TLS{Port: freePort(t), Cert: filepath.Join(t.TempDir(), "cert.pem"), Key: filepath.Join(t.TempDir(), "key.pem"),
		Pool: x509.NewCertPool(), clients: "no"}
	if clientCertificates {
		k.clients = "yes"
	}
	must(os.WriteFile(k.Cert, cert, 0o600))
	must(os.WriteFile(k.Key, key, 0o600))
	k.Pool.AppendCertsFromPEM(cert)
	pair, err := tls.X509KeyPair(cert, key)
	must(err)
	k.Pair = []tls.Certificate{pair}
	return k
}

// Addr is host:port, with the name that the certificate is for.
func (k *TLS) Addr() string { return fmt.Sprint("localhost:", k.Port) }

// lines are those of redis.conf.
func (k *TLS) lines() []string {
	return []string{fmt.Sprint("tls-port ", k.Port), "tls-cert-file " + k.Cert, "tls-key-file " + k.Key,
		"tls-ca-cert-file " + k.Cert, "tls-auth-clients " + k.clients}
}

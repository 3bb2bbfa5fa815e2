/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * As much of libcrypto as a small program can call: every digest and cipher it has, MACs, key
 * derivation, big numbers, base64, ASN.1, keys, signatures, a certificate, PKCS #12, CMS. Its
 * random numbers are a fixed sequence and its addresses are not random, so that two runs make the
 * same calls with the same arguments. Prints "sum X" over all results, and ends with what it did.
 */
#include <openssl/bn.h>
#include <openssl/cms.h>
#include <openssl/dh.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <sys/personality.h>

#include "crypto_forms.h"
#include "target.h"

static uint64_t sum = 14695981039346656037u;
static long done;

static void add(const void *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		sum = (sum ^ ((const uint8_t *)bytes)[i]) * 1099511628211u;
	done++;
}

static void need(bool right, const char *what)
{
	if (right)
		return;
	target_say("failed: %s\n", what);
	ERR_print_errors_fp(stderr);
	exit(7);
}
#define NEED(expression) need((expression), #expression)

static uint64_t state = 88172645463325252u;

static int fixed_bytes(unsigned char *bytes, int count)
{
	for (int i = 0; i < count; i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		bytes[i] = (unsigned char)(state >> 24);
	}
	return 1;
}

static int fixed_status(void)
{
	return 1;
}

static const char text[] = "The quick brown fox jumps over the lazy dog, again and again.";

static void digest(EVP_MD *md, void *unused)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	unsigned char out[EVP_MAX_MD_SIZE];
	unsigned length = 0;

	(void)unused;
	if (EVP_DigestInit_ex(context, md, NULL) && EVP_DigestUpdate(context, text, sizeof(text)) &&
	    !(EVP_MD_get_flags(md) & EVP_MD_FLAG_XOF) && EVP_DigestFinal_ex(context, out, &length))
		add(out, length);
	EVP_MD_CTX_free(context);
	ERR_clear_error();
}

static void cipher(EVP_CIPHER *kind, void *unused)
{
	unsigned char key[EVP_MAX_KEY_LENGTH], iv[EVP_MAX_IV_LENGTH], out[256], back[256];
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
	int length = 0, last = 0;

	(void)unused;
	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (unsigned char)(i * 7 + 1);
	memset(iv, 5, sizeof(iv));
	if (EVP_EncryptInit_ex(context, kind, NULL, key, iv) &&
	    EVP_EncryptUpdate(context, out, &length, (const unsigned char *)text, 48) &&
	    EVP_EncryptFinal_ex(context, out + length, &last)) {
		add(out, (size_t)(length + last));
		length += last;
		if (EVP_DecryptInit_ex(context, kind, NULL, key, iv) &&
		    EVP_DecryptUpdate(context, back, &last, out, length))
			add(back, (size_t)last);
	}
	EVP_CIPHER_CTX_free(context);
	ERR_clear_error();
}

static void macs_and_derivation(void)
{
	unsigned char out[64];
	unsigned length = 0;
	size_t size = sizeof(out);
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, NULL);

	NEED(HMAC(EVP_sha256(), "key", 3, (const unsigned char *)text, sizeof(text), out, &length));
	add(out, length);
	NEED(PKCS5_PBKDF2_HMAC("password", 8, (const unsigned char *)"salt", 4, 10, EVP_sha512(),
			       sizeof(out), out));
	add(out, sizeof(out));
	NEED(EVP_PBE_scrypt("password", 8, (const unsigned char *)"salt", 4, 2, 1, 1, 0, out, 32));
	add(out, 32);
	NEED(EVP_PKEY_derive_init(context) > 0 &&
	     EVP_PKEY_CTX_set_hkdf_md(context, EVP_sha256()) > 0 &&
	     EVP_PKEY_CTX_set1_hkdf_salt(context, (const unsigned char *)"salt", 4) > 0 &&
	     EVP_PKEY_CTX_set1_hkdf_key(context, (const unsigned char *)"key", 3) > 0 &&
	     EVP_PKEY_derive(context, out, &size) > 0);
	add(out, size);
	EVP_PKEY_CTX_free(context);
	for (const char *const *name = (const char *const[]){"CMAC", "POLY1305", "SIPHASH", NULL};
	     *name; name++) {
		EVP_MAC *mac = EVP_MAC_fetch(NULL, *name, NULL);
		EVP_MAC_CTX *mac_context = EVP_MAC_CTX_new(mac);
		OSSL_PARAM params[] = {
			OSSL_PARAM_construct_utf8_string("cipher", (char *)"AES-128-CBC", 0),
			OSSL_PARAM_construct_end()};
		const size_t key = !strcmp(*name, "POLY1305") ? 32 : 16;

		NEED(EVP_MAC_init(mac_context, (const unsigned char *)text, key,
				  !strcmp(*name, "CMAC") ? params : NULL) &&
		     EVP_MAC_update(mac_context, (const unsigned char *)text, sizeof(text)) &&
		     EVP_MAC_final(mac_context, out, &size, sizeof(out)));
		add(out, size);
		EVP_MAC_CTX_free(mac_context);
		EVP_MAC_free(mac);
	}
}

static void add_number(const BIGNUM *number)
{
	char *decimal = BN_bn2dec(number), *hexadecimal = BN_bn2hex(number);

	add(decimal, strlen(decimal));
	add(hexadecimal, strlen(hexadecimal));
	OPENSSL_free(decimal);
	OPENSSL_free(hexadecimal);
}

static void numbers(void)
{
	BN_CTX *context = BN_CTX_new();
	BIGNUM *a = BN_new(), *b = BN_new(), *prime = BN_new(), *r = BN_new(), *q = BN_new();

	NEED(BN_dec2bn(&a, "123456789012345678901234567890123456789"));
	NEED(BN_hex2bn(&b, "fedcba9876543210fedcba98765432"));
	NEED(BN_generate_prime_ex(prime, 96, 0, NULL, NULL, NULL));
	NEED(BN_check_prime(prime, context, NULL) == 1);
	add_number(prime);
	NEED(BN_mul(r, a, b, context) && BN_sqr(q, r, context) && BN_add(q, q, a) &&
	     BN_sub(q, q, b) && BN_div(r, q, q, b, context));
	add_number(r);
	NEED(BN_mod_exp(r, a, b, prime, context));
	add_number(r);
	NEED(BN_gcd(r, a, b, context) && BN_exp(q, b, r, context));
	add_number(q);
	NEED(BN_mod_inverse(r, a, prime, context) && BN_mod_mul(r, r, a, prime, context));
	add_number(r);
	NEED(BN_mod_sqr(r, a, prime, context) && BN_mod_sqrt(q, r, prime, context));
	add_number(q);
	NEED(BN_lshift(r, a, 77) && BN_rshift(q, r, 33) && BN_mod_word(q, 97) != (BN_ULONG)-1 &&
	     BN_GF2m_add(r, a, b) && BN_rand_range(q, prime) &&
	     BN_kronecker(a, prime, context) < 2);
	add_number(r);
	add_number(q);
	BN_free(a);
	BN_free(b);
	BN_free(prime);
	BN_free(r);
	BN_free(q);
	BN_CTX_free(context);
}

static void add_bio(BIO *bio)
{
	char *bytes;
	long length = BIO_get_mem_data(bio, &bytes);

	add(bytes, (size_t)length);
	BIO_free_all(bio);
}

static void encodings(void)
{
	unsigned char out[256], back[256], *der = NULL;
	BIO *bio = BIO_push(BIO_new(BIO_f_base64()), BIO_new(BIO_s_mem()));
	ASN1_INTEGER *integer = ASN1_INTEGER_new();
	ASN1_OBJECT *object = OBJ_txt2obj("1.2.840.113549.1.1.11", 0);
	ASN1_TIME *time = ASN1_TIME_set(NULL, 1700000000);
	STACK_OF(CONF_VALUE) *values = NULL;
	int length = EVP_EncodeBlock(out, (const unsigned char *)text, sizeof(text));

	add(out, (size_t)length);
	length = EVP_DecodeBlock(back, out, length);
	add(back, (size_t)length);
	NEED(BIO_write(bio, text, sizeof(text)) > 0 && BIO_flush(bio));
	add_bio(bio);
	NEED(ASN1_INTEGER_set(integer, -12345));
	length = i2d_ASN1_INTEGER(integer, &der);
	add(der, (size_t)length);
	OPENSSL_free(der);
	ASN1_INTEGER_free(integer);
	NEED(OBJ_obj2txt((char *)out, sizeof(out), object, 0) > 0);
	add(out, strlen((char *)out));
	ASN1_OBJECT_free(object);
	bio = BIO_new(BIO_s_mem());
	NEED(ASN1_TIME_print(bio, time) && BIO_printf(bio, "%d %s %5.2f", 5, text, 2.5) > 0);
	add_bio(bio);
	ASN1_TIME_free(time);
	NEED(X509V3_add_value("name", "value", &values));
	sk_CONF_VALUE_pop_free(values, X509V3_conf_free);
	bio = BIO_new_mem_buf("[a]\nb = c\n[d]\ne = $a::b\n", -1);
	CONF *configuration = NCONF_new(NULL);
	long line = 0;
	NEED(NCONF_load_bio(configuration, bio, &line) > 0);
	const char *found = NCONF_get_string(configuration, "d", "e");
	NEED(found != NULL);
	add(found, strlen(found));
	NCONF_free(configuration);
	BIO_free(bio);
}

static void sign(EVP_PKEY *key, const EVP_MD *md)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	unsigned char out[512];
	size_t length = sizeof(out);

	NEED(EVP_DigestSignInit(context, NULL, md, NULL, key) > 0 &&
	     EVP_DigestSign(context, out, &length, (const unsigned char *)text, sizeof(text)) > 0);
	add(out, length);
	EVP_MD_CTX_free(context);
	context = EVP_MD_CTX_new();
	NEED(EVP_DigestVerifyInit(context, NULL, md, NULL, key) > 0 &&
	     EVP_DigestVerify(context, out, length, (const unsigned char *)text, sizeof(text)) > 0);
	EVP_MD_CTX_free(context);
}

static void print_key(EVP_PKEY *key)
{
	BIO *bio = BIO_new(BIO_s_mem());
	EVP_PKEY *read;

	NEED(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL));
	NEED((read = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL)) != NULL);
	NEED(EVP_PKEY_eq(key, read) == 1 && EVP_PKEY_print_private(bio, read, 0, NULL) > 0 &&
	     PEM_write_bio_PUBKEY(bio, read));
	EVP_PKEY_free(read);
	add_bio(bio);
}

static void agree(EVP_PKEY *key)
{
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
	unsigned char out[512];
	size_t length = sizeof(out);

	NEED(EVP_PKEY_derive_init(context) > 0 && EVP_PKEY_derive_set_peer(context, key) > 0 &&
	     EVP_PKEY_derive(context, out, &length) > 0);
	add(out, length);
	EVP_PKEY_CTX_free(context);
}

static void encrypt(EVP_PKEY *key)
{
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
	unsigned char out[512], back[512];
	size_t length = sizeof(out), back_length = sizeof(back);

	NEED(EVP_PKEY_encrypt_init(context) > 0 &&
	     EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) > 0 &&
	     EVP_PKEY_encrypt(context, out, &length, (const unsigned char *)text, 16) > 0);
	add(out, length);
	NEED(EVP_PKEY_decrypt_init(context) > 0 &&
	     EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) > 0 &&
	     EVP_PKEY_decrypt(context, back, &back_length, out, length) > 0);
	add(back, back_length);
	EVP_PKEY_CTX_free(context);
}

static void certificate(EVP_PKEY *key)
{
	X509 *x509 = X509_new();
	X509_NAME *name = X509_get_subject_name(x509);
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *check = X509_STORE_CTX_new();
	X509_EXTENSION *extension;
	BIO *bio = BIO_new(BIO_s_mem()), *data;
	CMS_ContentInfo *cms;
	PKCS12 *p12;
	X509 *read;

	NEED(X509_set_version(x509, 2) && ASN1_INTEGER_set(X509_get_serialNumber(x509), 7));
	NEED(ASN1_TIME_set(X509_getm_notBefore(x509), 1600000000) &&
	     ASN1_TIME_set(X509_getm_notAfter(x509), 4000000000));
	NEED(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"a test",
					-1, -1, 0));
	NEED(X509_set_issuer_name(x509, name) && X509_set_pubkey(x509, key));
	extension = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");
	NEED(extension && X509_add_ext(x509, extension, -1));
	X509_EXTENSION_free(extension);
	extension =
		X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:a.test,IP:127.0.0.1");
	NEED(extension && X509_add_ext(x509, extension, -1));
	X509_EXTENSION_free(extension);
	NEED(X509_sign(x509, key, EVP_sha256()));
	NEED(PEM_write_bio_X509(bio, x509));
	NEED((read = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL);
	NEED(X509_cmp(x509, read) == 0 && X509_print(bio, read));
	NEED(X509_check_host(read, "a.test", 0, 0, NULL) == 1);
	X509_free(read);
	add_bio(bio);
	NEED(X509_STORE_add_cert(store, x509) && X509_STORE_CTX_init(check, store, x509, NULL));
	X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(check), 1700000000);
	NEED(X509_verify_cert(check) == 1);
	X509_STORE_CTX_free(check);
	X509_STORE_free(store);
	p12 = PKCS12_create("password", "name", key, x509, NULL, 0, 0, 3, 3, 0);
	bio = BIO_new(BIO_s_mem());
	NEED(p12 && i2d_PKCS12_bio(bio, p12));
	add_bio(bio);
	PKCS12_free(p12);
	data = BIO_new_mem_buf(text, sizeof(text));
	cms = CMS_sign(x509, key, NULL, data, CMS_BINARY | CMS_NOATTR);
	bio = BIO_new(BIO_s_mem());
	NEED(cms && i2d_CMS_bio(bio, cms) && CMS_ContentInfo_print_ctx(bio, cms, 0, NULL));
	add_bio(bio);
	CMS_ContentInfo_free(cms);
	BIO_free(data);
	X509_free(x509);
}

static EVP_PKEY *pss_key(void)
{
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_id(EVP_PKEY_RSA_PSS, NULL);
	EVP_PKEY *key = NULL;

	NEED(EVP_PKEY_keygen_init(context) > 0 &&
	     EVP_PKEY_CTX_set_rsa_keygen_bits(context, 1024) > 0 &&
	     EVP_PKEY_keygen(context, &key) > 0);
	EVP_PKEY_CTX_free(context);
	return key;
}

static EVP_PKEY *dsa_key(void)
{
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_id(EVP_PKEY_DSA, NULL);
	EVP_PKEY *parameters = NULL, *key = NULL;

	NEED(EVP_PKEY_paramgen_init(context) > 0 &&
	     EVP_PKEY_CTX_set_dsa_paramgen_bits(context, 1024) > 0 &&
	     EVP_PKEY_paramgen(context, &parameters) > 0);
	EVP_PKEY_CTX_free(context);
	context = EVP_PKEY_CTX_new(parameters, NULL);
	NEED(EVP_PKEY_keygen_init(context) > 0 && EVP_PKEY_keygen(context, &key) > 0);
	EVP_PKEY_CTX_free(context);
	EVP_PKEY_free(parameters);
	return key;
}

static EVP_PKEY *dh_key(void)
{
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_id(EVP_PKEY_DH, NULL);
	EVP_PKEY *key = NULL;

	NEED(EVP_PKEY_keygen_init(context) > 0 &&
	     EVP_PKEY_CTX_set_dh_nid(context, NID_ffdhe2048) > 0 &&
	     EVP_PKEY_keygen(context, &key) > 0);
	EVP_PKEY_CTX_free(context);
	return key;
}

static void keys(void)
{
	EVP_PKEY *rsa = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)1024);
	EVP_PKEY *pss = pss_key();
	EVP_PKEY *ec = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	EVP_PKEY *binary = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "sect163k1");
	EVP_PKEY *ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	EVP_PKEY *ed448 = EVP_PKEY_Q_keygen(NULL, NULL, "ED448");
	EVP_PKEY *x = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
	EVP_PKEY *x448 = EVP_PKEY_Q_keygen(NULL, NULL, "X448");
	EVP_PKEY *sm2 = EVP_PKEY_Q_keygen(NULL, NULL, "SM2");
	EVP_PKEY *dsa = dsa_key(), *dh = dh_key();

	NEED(rsa && pss && ec && binary && ed && ed448 && x && x448 && sm2);
	sign(rsa, EVP_sha256());
	sign(pss, EVP_sha256());
	sign(ec, EVP_sha384());
	sign(binary, EVP_sha256());
	sign(ed, NULL);
	sign(ed448, NULL);
	sign(sm2, EVP_sm3());
	sign(dsa, EVP_sha1());
	agree(ec);
	agree(x);
	agree(x448);
	agree(dh);
	encrypt(rsa);
	for (EVP_PKEY *const *key = (EVP_PKEY *const[]){rsa, pss, ec, binary, ed, ed448, x, x448,
							sm2, dsa, dh, NULL};
	     *key; key++)
		print_key(*key);
	certificate(rsa);
	key_forms(rsa, ec, dsa, dh);
	for (EVP_PKEY *const *key = (EVP_PKEY *const[]){rsa, pss, ec, binary, ed, ed448, x, x448,
							sm2, dsa, dh, NULL};
	     *key; key++)
		EVP_PKEY_free(*key);
}

int main(int argc, char **argv)
{
	static const RAND_METHOD fixed = {
		.bytes = fixed_bytes, .pseudorand = fixed_bytes, .status = fixed_status};

	(void)argc;
	if (!(personality(0xffffffff) & ADDR_NO_RANDOMIZE)) {
		if (personality(ADDR_NO_RANDOMIZE) < 0)
			return 6;
		execv("/proc/self/exe", argv);
		return 6;
	}
	target_ready();
	NEED(RAND_set_rand_method(&fixed));
	EVP_MD_do_all_provided(NULL, digest, NULL);
	EVP_CIPHER_do_all_provided(NULL, cipher, NULL);
	macs_and_derivation();
	numbers();
	encodings();
	keys();
	types();
	readers();
	errors();
	interfaces();
	primes();
	small_texts();
	method_tables();
	target_say("sum %016llx\n", (unsigned long long)sum);
	target_end(done);
	return 0;
}

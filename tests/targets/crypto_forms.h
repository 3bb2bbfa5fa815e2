/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For crypto.c: the many small functions of libcrypto. Types are made, written and read back;
 * readers find an empty file and say so; what was set is asked for. All that matters is that each
 * is called once and does the same each time.
 */
#ifndef CRYPTO_FORMS_H
#define CRYPTO_FORMS_H

#include <openssl/cmp.h>
#include <openssl/dsa.h>
#include <openssl/ess.h>
#include <openssl/ocsp.h>
#include <openssl/ts.h>
#include <openssl/ui.h>
#include <sys/mman.h>

static void add(const void *bytes, size_t length);

/* Made, encoded if it may be empty, decoded, freed. */
#define TYPE(type)                                                        \
	do {                                                              \
		type *value = type##_new(), *back = NULL;                 \
		unsigned char *der = NULL;                                \
		int length = i2d_##type(value, &der);                     \
		const unsigned char *at = der;                            \
		if (length > 0 && (back = d2i_##type(NULL, &at, length))) \
			add(der, (size_t)length);                         \
		OPENSSL_free(der);                                        \
		type##_free(back);                                        \
		type##_free(value);                                       \
		ERR_clear_error();                                        \
	} while (0)

/* Reads of an empty file: an error, always the same. */
#define NO_PEM(type)                                                \
	do {                                                        \
		if (PEM_read_bio_##type(empty, NULL, NULL, NULL) || \
		    PEM_read_##type(file, NULL, NULL, NULL))        \
			exit(7);                                    \
		ERR_clear_error();                                  \
	} while (0)
#define NO_DER(type)                                                              \
	do {                                                                      \
		if (d2i_##type##_bio(empty, NULL) || d2i_##type##_fp(file, NULL)) \
			exit(7);                                                  \
		ERR_clear_error();                                                \
	} while (0)
#define WRITE(type, value)                                                                      \
	do {                                                                                    \
		if (i2d_##type##_bio(out, value) <= 0 || i2d_##type##_fp(file_out, value) <= 0) \
			exit(7);                                                                \
	} while (0)

static FILE *memory_file(void)
{
	int fd = memfd_create("empty", MFD_CLOEXEC);

	return fd < 0 ? NULL : fdopen(fd, "w+");
}

static void readers(void)
{
	BIO *empty = BIO_new(BIO_s_mem());
	FILE *file = memory_file();

	NO_PEM(X509_REQ);
	NO_PEM(X509_CRL);
	NO_PEM(X509_PUBKEY);
	NO_PEM(X509_AUX);
	NO_PEM(PKCS7);
	NO_PEM(NETSCAPE_CERT_SEQUENCE);
	NO_PEM(RSAPublicKey);
	NO_PEM(RSA_PUBKEY);
	NO_PEM(DSA_PUBKEY);
	NO_PEM(DSAparams);
	NO_PEM(ECPKParameters);
	NO_PEM(EC_PUBKEY);
	NO_PEM(PKCS8);
	NO_PEM(PKCS8_PRIV_KEY_INFO);
	NO_PEM(PUBKEY);
	NO_DER(RSA_PUBKEY);
	NO_DER(DSAPrivateKey);
	NO_DER(DSA_PUBKEY);
	NO_DER(EC_PUBKEY);
	NO_DER(ECPrivateKey);
	NO_DER(PKCS8);
	NO_DER(X509_PUBKEY);
	NO_DER(PKCS8_PRIV_KEY_INFO);
	NO_DER(PrivateKey);
	NO_DER(PUBKEY);
	NO_DER(TS_MSG_IMPRINT);
	NO_DER(TS_REQ);
	NO_DER(TS_TST_INFO);
	NO_DER(TS_RESP);
	BIO_free(empty);
	(void)fclose(file);
}

static void types(void)
{
	TYPE(TS_MSG_IMPRINT);
	TYPE(TS_REQ);
	TYPE(TS_ACCURACY);
	TYPE(TS_TST_INFO);
	TYPE(TS_STATUS_INFO);
	TYPE(TS_RESP);
	TYPE(ESS_ISSUER_SERIAL);
	TYPE(ESS_CERT_ID);
	TYPE(ESS_CERT_ID_V2);
	TYPE(ESS_SIGNING_CERT);
	TYPE(X509_REQ);
	TYPE(X509_CRL);
	TYPE(X509_REVOKED);
	TYPE(X509_ALGOR);
	TYPE(X509_SIG);
	TYPE(X509_VAL);
	TYPE(PKCS7);
	TYPE(PKCS12);
	TYPE(PKCS8_PRIV_KEY_INFO);
	TYPE(OCSP_REQUEST);
	TYPE(OCSP_RESPONSE);
	TYPE(OCSP_BASICRESP);
	TYPE(OCSP_CERTID);
	TYPE(ASN1_ENUMERATED);
	TYPE(ASN1_UTF8STRING);
	TYPE(ASN1_PRINTABLESTRING);
	TYPE(ASN1_T61STRING);
	TYPE(ASN1_GENERALSTRING);
	TYPE(ASN1_UTCTIME);
	TYPE(ASN1_GENERALIZEDTIME);
	TYPE(ASN1_VISIBLESTRING);
	TYPE(ASN1_UNIVERSALSTRING);
	TYPE(ASN1_BMPSTRING);
	TYPE(ASN1_BIT_STRING);
	TYPE(GENERAL_NAME);
	TYPE(AUTHORITY_KEYID);
	TYPE(POLICYINFO);
	TYPE(DIST_POINT);
}

static void errors(void)
{
	const char *file, *function, *data;
	int line, flags;
	char text[256];

	for (int i = 0; i < 4; i++)
		ERR_raise_data(ERR_LIB_USER, 1 + i, "number %d", i);
	ERR_error_string_n(ERR_peek_error(), text, sizeof(text));
	add(text, strlen(text));
	(void)ERR_peek_error_line(&file, &line);
	(void)ERR_peek_error_func(&function);
	(void)ERR_peek_error_data(&data, &flags);
	(void)ERR_peek_error_all(&file, &line, &function, &data, &flags);
	add(data, strlen(data));
	(void)ERR_peek_last_error_line(&file, &line);
	(void)ERR_peek_last_error_func(&function);
	(void)ERR_peek_last_error_data(&data, &flags);
	(void)ERR_peek_last_error_all(&file, &line, &function, &data, &flags);
	(void)ERR_get_error_all(&file, &line, &function, &data, &flags);
	(void)ERR_get_error();
	BIO *bio = BIO_new(BIO_s_mem());
	ERR_print_errors(bio);
	BIO_free(bio);
}

static void interfaces(void)
{
	UI_METHOD *method = UI_create_method("none");
	UI *ui = UI_new();
	OSSL_CMP_CTX *cmp = OSSL_CMP_CTX_new(NULL, NULL);
	static const unsigned char id[] = "transaction";

	(void)UI_method_set_opener(method, UI_method_get_opener(UI_OpenSSL()));
	(void)UI_method_set_writer(method, UI_method_get_writer(UI_OpenSSL()));
	(void)UI_method_set_flusher(method, UI_method_get_flusher(UI_OpenSSL()));
	(void)UI_method_set_reader(method, UI_method_get_reader(UI_OpenSSL()));
	(void)UI_method_set_closer(method, UI_method_get_closer(UI_OpenSSL()));
	(void)UI_method_set_prompt_constructor(method, UI_method_get_prompt_constructor(method));
	(void)UI_method_set_data_duplicator(method, UI_method_get_data_duplicator(method),
					    UI_method_get_data_destructor(method));
	(void)UI_method_set_ex_data(method, 0, NULL);
	(void)UI_method_get_ex_data(method, 0);
	(void)UI_set_ex_data(ui, 0, NULL);
	(void)UI_get_ex_data(ui, 0);
	UI_free(ui);
	UI_destroy_method(method);
	(void)OSSL_CMP_CTX_get0_trustedStore(cmp);
	(void)OSSL_CMP_CTX_get0_untrusted(cmp);
	(void)OSSL_CMP_CTX_get_status(cmp);
	(void)OSSL_CMP_CTX_get0_statusString(cmp);
	(void)OSSL_CMP_CTX_set_certConf_cb(cmp, NULL);
	(void)OSSL_CMP_CTX_set_certConf_cb_arg(cmp, NULL);
	(void)OSSL_CMP_CTX_get_certConf_cb_arg(cmp);
	(void)OSSL_CMP_CTX_set_log_cb(cmp, NULL);
	(void)OSSL_CMP_CTX_set1_referenceValue(cmp, id, sizeof(id));
	(void)OSSL_CMP_CTX_get1_newChain(cmp);
	(void)OSSL_CMP_CTX_get1_extraCertsIn(cmp);
	(void)OSSL_CMP_CTX_get1_caPubs(cmp);
	(void)OSSL_CMP_CTX_get0_newCert(cmp);
	(void)OSSL_CMP_CTX_get0_newPkey(cmp, 0);
	(void)OSSL_CMP_CTX_set1_transactionID(cmp, NULL);
	(void)OSSL_CMP_CTX_set1_senderNonce(cmp, NULL);
	(void)OSSL_CMP_CTX_set_http_cb(cmp, NULL);
	(void)OSSL_CMP_CTX_set_http_cb_arg(cmp, NULL);
	(void)OSSL_CMP_CTX_get_http_cb_arg(cmp);
	(void)OSSL_CMP_CTX_set_transfer_cb(cmp, NULL);
	(void)OSSL_CMP_CTX_set_transfer_cb_arg(cmp, NULL);
	(void)OSSL_CMP_CTX_get_transfer_cb_arg(cmp);
	(void)OSSL_CMP_CTX_set_serverPort(cmp, 80);
	(void)OSSL_CMP_CTX_get_failInfoCode(cmp);
	OSSL_CMP_CTX_free(cmp);
	ERR_clear_error();
}

static void key_forms(EVP_PKEY *rsa, EVP_PKEY *ec, EVP_PKEY *dsa, EVP_PKEY *dh)
{
	BIO *out = BIO_new(BIO_s_mem());
	FILE *file_out = memory_file();
	RSA *rsa_key = EVP_PKEY_get1_RSA(rsa);
	EC_KEY *ec_key = EVP_PKEY_get1_EC_KEY(ec);
	DSA *dsa_key = EVP_PKEY_get1_DSA(dsa);
	DH *dh_key = EVP_PKEY_get1_DH(dh);
	const BIGNUM *a, *b, *c;
	char *bytes;
	long length;

	WRITE(RSA_PUBKEY, rsa_key);
	WRITE(DSAPrivateKey, dsa_key);
	WRITE(DSA_PUBKEY, dsa_key);
	WRITE(EC_PUBKEY, ec_key);
	WRITE(ECPrivateKey, ec_key);
	WRITE(PrivateKey, rsa);
	WRITE(PUBKEY, rsa);
	length = BIO_get_mem_data(out, &bytes);
	add(bytes, (size_t)length);
	(void)RSA_check_key(rsa_key);
	(void)RSA_flags(rsa_key);
	(void)RSA_set_ex_data(rsa_key, 0, NULL);
	(void)RSA_get_ex_data(rsa_key, 0);
	RSA_get0_factors(rsa_key, &a, &b);
	RSA_get0_crt_params(rsa_key, &a, &b, &c);
	(void)DSA_set_ex_data(dsa_key, 0, NULL);
	(void)DSA_get_ex_data(dsa_key, 0);
	DSA_get0_pqg(dsa_key, &a, &b, &c);
	DSA_get0_key(dsa_key, &a, &b);
	(void)DH_set_ex_data(dh_key, 0, NULL);
	(void)DH_get_ex_data(dh_key, 0);
	DH_get0_pqg(dh_key, &a, &b, &c);
	DH_get0_key(dh_key, &a, &b);
	(void)DH_get_nid(dh_key);
	(void)EC_KEY_set_ex_data(ec_key, 0, NULL);
	(void)EC_KEY_get_ex_data(ec_key, 0);
	EC_KEY_free(EC_KEY_dup(ec_key));
	(void)EVP_PKEY_get_bits(rsa);
	(void)EVP_PKEY_get_security_bits(rsa);
	(void)EVP_PKEY_get0(rsa);
	(void)EVP_PKEY_set_ex_data(rsa, 0, NULL);
	(void)EVP_PKEY_get_ex_data(rsa, 0);
	(void)EVP_PKEY_gettable_params(rsa);
	(void)EVP_PKEY_settable_params(rsa);
	RSA_free(rsa_key);
	EC_KEY_free(ec_key);
	DSA_free(dsa_key);
	DH_free(dh_key);
	DH_free(DH_new());
	DSA_free(DSA_new());
	DH_free(DH_new_by_nid(NID_ffdhe2048));
	EC_KEY_free(EC_KEY_new_by_curve_name(NID_secp224r1));
	BIO_free(out);
	(void)fclose(file_out);
	ERR_clear_error();
}

static void primes(void)
{
	BIGNUM *(*const known[])(BIGNUM *) = {BN_get_rfc2409_prime_768,	 BN_get_rfc2409_prime_1024,
					      BN_get_rfc3526_prime_1536, BN_get_rfc3526_prime_2048,
					      BN_get_rfc3526_prime_3072, BN_get_rfc3526_prime_4096,
					      BN_get_rfc3526_prime_6144, BN_get_rfc3526_prime_8192};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		BIGNUM *prime = known[i](NULL);
		ASN1_INTEGER *integer = BN_to_ASN1_INTEGER(prime, NULL);

		add(ASN1_STRING_get0_data(integer), (size_t)ASN1_STRING_length(integer));
		ASN1_INTEGER_free(integer);
		(void)BN_clear_bit(prime, 5);
		(void)BN_security_bits(BN_num_bits(prime), 256);
		BN_free(prime);
	}
}

static void small_texts(void)
{
	long length = 0;
	unsigned char *bytes = OPENSSL_hexstr2buf("01:02:0a:ff", &length);
	char *hexadecimal = OPENSSL_buf2hexstr(bytes, length);
	STACK_OF(OPENSSL_STRING) *stack = sk_OPENSSL_STRING_new_null();
	BIO *bio = BIO_new(BIO_s_mem());

	add(bytes, (size_t)length);
	add(hexadecimal, strlen(hexadecimal));
	(void)sk_OPENSSL_STRING_reserve(stack, 8);
	(void)sk_OPENSSL_STRING_unshift(stack, hexadecimal);
	(void)sk_OPENSSL_STRING_is_sorted(stack);
	sk_OPENSSL_STRING_zero(stack);
	sk_OPENSSL_STRING_free(stack);
	(void)BIO_dump(bio, (const char *)bytes, (int)length);
	(void)BIO_set_ex_data(bio, 0, NULL);
	(void)BIO_get_ex_data(bio, 0);
	(void)BIO_number_read(bio);
	(void)BIO_number_written(bio);
	(void)BIO_ctrl_get_write_guarantee(bio);
	(void)BIO_ctrl_get_read_request(bio);
	BIO_free(bio);
	OPENSSL_free(bytes);
	OPENSSL_free(hexadecimal);
	for (int i = 0; i < 4; i++) {
		const char *names[] = {OCSP_response_status_str(i), OCSP_cert_status_str(i),
				       OCSP_crl_reason_str(i)};

		for (size_t k = 0; k < 3; k++)
			add(names[k], strlen(names[k]));
	}
	(void)EC_get_builtin_curves(NULL, 0);
	(void)EVP_get_cipherbyname("aes-128-cbc");
}

static void method_tables(void)
{
	const EVP_PKEY_METHOD *method = EVP_PKEY_meth_find(EVP_PKEY_RSA);
	X509_VERIFY_PARAM *param = X509_VERIFY_PARAM_new();
	static const unsigned char address[] = {127, 0, 0, 1};

	if (method) {
		void (*any)(void) = NULL;
		void *first = &any, *second = &any;

		EVP_PKEY_meth_get_paramgen(method, first, second);
		EVP_PKEY_meth_get_keygen(method, first, second);
		EVP_PKEY_meth_get_sign(method, first, second);
		EVP_PKEY_meth_get_verify(method, first, second);
		EVP_PKEY_meth_get_verify_recover(method, first, second);
		EVP_PKEY_meth_get_signctx(method, first, second);
		EVP_PKEY_meth_get_verifyctx(method, first, second);
		EVP_PKEY_meth_get_encrypt(method, first, second);
		EVP_PKEY_meth_get_decrypt(method, first, second);
		EVP_PKEY_meth_get_derive(method, first, second);
		EVP_PKEY_meth_get_ctrl(method, first, second);
		EVP_PKEY_meth_get_digestsign(method, first);
		EVP_PKEY_meth_get_digestverify(method, first);
		EVP_PKEY_meth_get_check(method, first);
		EVP_PKEY_meth_get_public_check(method, first);
		EVP_PKEY_meth_get_param_check(method, first);
		EVP_PKEY_meth_get_digest_custom(method, first);
	}
	(void)X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER);
	(void)X509_VERIFY_PARAM_set_trust(param, X509_TRUST_SSL_SERVER);
	(void)X509_VERIFY_PARAM_set1_host(param, "a.test", 0);
	(void)X509_VERIFY_PARAM_add1_host(param, "b.test", 0);
	(void)X509_VERIFY_PARAM_set1_email(param, "a@b.test", 0);
	(void)X509_VERIFY_PARAM_set1_ip(param, address, sizeof(address));
	OPENSSL_free(X509_VERIFY_PARAM_get1_ip_asc(param));
	(void)X509_VERIFY_PARAM_get0(0);
	X509_VERIFY_PARAM_free(param);
	ERR_clear_error();
}

#endif

// Configuration of ESLint for the pages of the LuCI app, and for the replacement of LuCI's runtime in their tests.

import { createRequire } from 'node:module';

// From the directory where ESLint is installed.
const recommended = createRequire(process.argv[1])('@eslint/js').configs.recommended.rules;
const names = list => Object.fromEntries(list.split(' ').map(name => [ name, 'readonly' ]));
const errors = list => Object.fromEntries(list.split(' ').map(rule => [ rule, 'error' ]));
const BROWSER = names('JSON Node ResizeObserver document fetch window');
const LUCI = names('E L _ baseclass form fs poll rpc uci ui view chart flow status');
const HTML = [ 'innerHTML', 'outerHTML', 'insertAdjacentHTML' ].map(property => ({ property, message: 'Text from the network must not become HTML.' }));

export default [
	{
		files: [ 'openwrt/**/*.js' ],
		// commonjs, since LuCI makes each file a function that returns a class. Its jsmin does not support template strings.
		languageOptions: { ecmaVersion: 2020, sourceType: 'commonjs', globals: { ...BROWSER, ...LUCI } },
		rules: {
			...recommended,
			...errors('array-callback-return block-scoped-var no-eval no-implied-eval no-shadow no-unused-expressions no-use-before-define no-useless-concat no-useless-return no-var prefer-const strict'),
			'no-restricted-properties': [ 'error', ...HTML ],
			'no-restricted-syntax': [ 'error', 'TemplateLiteral' ]
		}
	},
	{
		files: [ 'tests/luci/*.js' ],
		languageOptions: { ecmaVersion: 2022, sourceType: 'script', globals: { ...BROWSER, ...names('E _') } },
		rules: { ...recommended, ...errors('no-var prefer-const') }
	}
];
